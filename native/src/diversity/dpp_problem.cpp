#include "diversity/dpp_problem.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "base/checks.hpp"
#include "base/fixed_math.hpp"
#include "diversity/feature_blocks.hpp"
#include "kernels/kernels.hpp"

namespace karec {
namespace {

std::string count(std::size_t n) {
    return std::to_string(n);
}
std::string shape(const VectorRows& m) {
    return "(" + count(m.rows) + ", " + count(m.cols) + ")";
}

Status check_length(const char* name, std::size_t length, const VectorRows& embeddings) {
    if (length == embeddings.rows) return {};
    return Status::invalid(std::string(name) + " has shape (" + count(length) + ",), expected (" +
                           count(embeddings.rows) + ",) as embeddings has shape " + shape(embeddings));
}

Status check_options(const VectorRows& embeddings, const DppOptions& options) {
    const auto number = [](double value) { return std::to_string(value); };
    if (!(options.alpha >= 0.0)) return Status::invalid("alpha must be ≥ 0, got " + number(options.alpha));
    if (!(options.ridge >= 0.0 && options.ridge <= kMostRidge)) {
        return Status::invalid("ridge must lie in [0, 10], got " + number(options.ridge));
    }
    const double type_weight = options.type_weight;
    if (std::isnan(type_weight) || type_weight < 0.0 || type_weight > 1.0) {
        return Status::invalid("type_weight must lie in [0, 1], got " + number(options.type_weight));
    }
    const char* all = "type_weight and facet_weights";
    if (Status status = check_facet_weights(options.facet_weights, type_weight, all); !status.ok()) return status;
    if (options.window && *options.window == 0) return Status::invalid("window must be ≥ 1, got 0");
    if (options.max_per_type && *options.max_per_type == 0) return Status::invalid("max_per_type must be ≥ 1, got 0");
    if (options.max_per_type && options.min_per_type > *options.max_per_type) {
        return Status::invalid("min_per_type must be at most max_per_type, got " + count(options.min_per_type) +
                               " and " + count(*options.max_per_type));
    }
    const bool typed = options.type_weight > 0.0 || options.max_per_type || options.min_per_type > 0;
    if (options.types.empty() && embeddings.rows > 0 && typed) {
        return Status::invalid("type_weight, max_per_type and min_per_type need types");
    }
    if (options.shown.rows > 0 && options.shown.cols != embeddings.cols) {
        return Status::invalid("shown has shape " + shape(options.shown) + ", expected (M, " + count(embeddings.cols) +
                               ") as embeddings has shape " + shape(embeddings));
    }
    return {};
}

Status check_values(std::span<const float> relevance, std::span<const float> weights, const MatrixView& shown) {
    if (Status status = check_finite(relevance, "relevance"); !status.ok()) return status;
    if (Status status = check_finite(weights, "weights"); !status.ok()) return status;
    if (Status status = check_finite(shown, "shown"); !status.ok()) return status;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        if (weights[i] < 0.0f) {
            return Status::invalid("weights holds " + std::to_string(weights[i]) + " at position " + count(i) +
                                   ", expected ≥ 0");
        }
    }
    return {};
}

void set_qualities(double alpha, std::span<const float> weights, DppProblem& problem) {
    const std::vector<float>& relevance = problem.relevance;
    const std::size_t n = relevance.size();
    problem.log_q.resize(n);
    problem.q2.resize(n);
    const float best = n == 0 ? 0.0f : *std::max_element(relevance.begin(), relevance.end());
    for (std::size_t i = 0; i < n; ++i) {
        const double below = static_cast<double>(relevance[i]) - best;
        problem.log_q[i] = below == 0.0 ? 0.0 : alpha * below;
    }
    kernels().exps(problem.log_q.data(), n, problem.q2.data());
    for (std::size_t i = 0; i < weights.size(); ++i) {
        problem.log_q[i] += fixed_log(weights[i]);
        problem.q2[i] *= weights[i];
    }
    for (double& q : problem.q2) q *= q;
}

void set_facets(const DppOptions& options, DppProblem& problem) {
    problem.facets = Facets(problem.n(), options.shown.rows);
    problem.facets.add(options.type_weight, options.types, {});
    problem.facets.add_all(options.facet_weights, options.facets, options.shown_facets);
    problem.feature_scale = problem.facets.feature_scale();
}

// Codes equal types by one number each, from 0 on: a stable radix sort (Knuth, TAOCP 3, 5.2.5) over the bytes in which
// types differ, O(N) a byte.
void set_types(std::span<const std::int64_t> types, DppProblem& problem) {
    struct Typed {
        std::uint64_t type;
        std::uint32_t item;
    };
    constexpr std::size_t kBytes = sizeof(std::int64_t);
    std::vector<Typed> sorted(types.size());
    std::vector<Typed> next(types.size());
    std::array<std::array<std::uint32_t, 256>, kBytes> starts{};
    for (std::size_t i = 0; i < types.size(); ++i) {
        sorted[i] = {static_cast<std::uint64_t>(types[i]), static_cast<std::uint32_t>(i)};
        for (std::size_t byte = 0; byte < kBytes; ++byte) ++starts[byte][sorted[i].type >> (8 * byte) & 0xFF];
    }
    for (std::size_t byte = 0; byte < kBytes && !sorted.empty(); ++byte) {
        auto& start = starts[byte];
        if (start[sorted[0].type >> (8 * byte) & 0xFF] == sorted.size()) continue;
        std::exclusive_scan(start.begin(), start.end(), start.begin(), 0u);
        for (const Typed& typed : sorted) next[start[typed.type >> (8 * byte) & 0xFF]++] = typed;
        sorted.swap(next);
    }
    problem.type_of.resize(types.size());
    for (std::size_t i = 0; i < sorted.size(); ++i) {
        if (i == 0 || sorted[i].type != sorted[i - 1].type) ++problem.n_types;
        problem.type_of[sorted[i].item] = static_cast<std::int32_t>(problem.n_types - 1);
    }
}

}  // namespace

Status check_dpp_lengths(const VectorRows& embeddings, std::span<const float> relevance, const DppOptions& options) {
    if (Status status = check_length("relevance", relevance.size(), embeddings); !status.ok()) return status;
    if (!options.weights.empty()) {
        if (Status status = check_length("weights", options.weights.size(), embeddings); !status.ok()) return status;
    }
    if (!options.types.empty()) {
        if (Status status = check_length("types", options.types.size(), embeddings); !status.ok()) return status;
    }
    return check_facet_codes(options.facet_weights, options.facets, options.shown_facets, embeddings.rows,
                             options.shown.rows);
}

double DppProblem::feature(std::size_t row, std::span<double> out) const {
    if (row < n()) {
        scaled_row(embeddings, row, length_factor(squared_norms[row], feature_scale), out);
        return first_rho[row];
    }
    scaled_row(shown, row - n(), 1.0, out);
    double squared_norm = 0.0;
    for (const double x : out) squared_norm += x * x;
    const double factor = length_factor(squared_norm, feature_scale);
    double rho = ridge;
    for (double& x : out) {
        x *= factor;
        rho += x * x;
    }
    for (std::size_t f = 0; f < facets.size(); ++f) rho += facets.of_shown[f] ? facets.weights[f] : 0.0;
    return rho;
}

Result<DppProblem> pose_dpp(const VectorRows& embeddings, std::span<const float> relevance, const DppOptions& options) {
    if (Status status = check_dpp_lengths(embeddings, relevance, options); !status.ok()) return status;
    if (Status status = check_options(embeddings, options); !status.ok()) return status;
    // Copied, so that the values that are checked are the values that are used, whoever writes to the caller's arrays.
    DppProblem problem;
    problem.relevance.assign(relevance.begin(), relevance.end());
    const std::vector<float> weights(options.weights.begin(), options.weights.end());
    if (Status status = check_values(problem.relevance, weights, options.shown); !status.ok()) return status;
    auto norms = finite_squared_norms(embeddings, "embeddings");
    if (!norms.ok()) return norms.status();
    problem.squared_norms = std::move(norms.value());
    problem.embeddings = embeddings;
    problem.ridge = options.ridge;
    problem.shown = options.shown;
    set_facets(options, problem);
    set_qualities(options.alpha, weights, problem);
    if (options.max_per_type || options.min_per_type > 0) set_types(options.types, problem);
    const double of_vectors = problem.feature_scale * problem.feature_scale;
    const double of_facets = problem.facets.total();
    problem.first_rho.resize(embeddings.rows);
    for (std::size_t i = 0; i < embeddings.rows; ++i) {
        const double unit = problem.squared_norms[i] > 0.0 ? of_vectors : 0.0;
        problem.first_rho[i] = unit + of_facets + options.ridge;
    }
    return problem;
}

double dpp_alpha(double diversity) noexcept {
    if (diversity == 0.0) return std::numeric_limits<double>::infinity();
    return (1.0 - diversity) / (2.0 * diversity);
}

}  // namespace karec
