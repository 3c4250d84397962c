#include "diversity/dpp_problem.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/checks.hpp"
#include "base/fixed_math.hpp"
#include "kernels/kernels.hpp"

namespace karec {
namespace {

Status check_options(const VectorRows& items, const DppOptions& options) {
    if (!(options.alpha >= 0.0)) return Status::invalid("alpha must be ≥ 0, got " + std::to_string(options.alpha));
    if (!(options.ridge >= 0.0 && options.ridge <= kMaxRidge)) {
        return Status::invalid("ridge must lie in [0, 10], got " + std::to_string(options.ridge));
    }
    if (!(options.type_weight >= 0.0 && options.type_weight <= 1.0)) {
        return Status::invalid("type_weight must lie in [0, 1], got " + std::to_string(options.type_weight));
    }
    if (options.max_per_type && *options.max_per_type == 0) return Status::invalid("max_per_type must be ≥ 1, got 0");
    if (options.max_per_type && options.min_per_type > *options.max_per_type) {
        return Status::invalid("min_per_type must be at most max_per_type, got " +
                               std::to_string(options.min_per_type) + " and " + std::to_string(*options.max_per_type));
    }
    const bool needs_types = options.type_weight > 0.0 || options.max_per_type || options.min_per_type > 0;
    if (options.types.empty() && items.rows > 0 && needs_types) {
        return Status::invalid("type_weight, max_per_type and min_per_type need types");
    }
    if (options.types.empty()) return {};
    return check_item_column("types", options.types.size(), items);
}

Status check_weights(std::span<const float> weights, const VectorRows& items) {
    if (weights.empty()) return {};
    if (Status status = check_item_column("weights", weights.size(), items); !status.ok()) return status;
    if (Status status = check_finite(weights, "weights"); !status.ok()) return status;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        if (weights[i] >= 0.0f) continue;
        return Status::invalid("weights holds " + std::to_string(weights[i]) + " at position " + std::to_string(i) +
                               ", expected ≥ 0");
    }
    return {};
}

void set_qualities(double alpha, std::span<const float> weights, DppProblem& problem) {
    const std::vector<float>& relevance = problem.relevance;
    const std::size_t n = relevance.size();
    problem.log_q.resize(n);
    problem.q2.resize(n);
    const float max = n == 0 ? 0.0f : *std::max_element(relevance.begin(), relevance.end());
    for (std::size_t i = 0; i < n; ++i) {
        const double difference = static_cast<double>(relevance[i]) - max;
        problem.log_q[i] = difference == 0.0 ? 0.0 : alpha * difference;
    }
    kernels().exps(problem.log_q.data(), n, problem.q2.data());
    for (std::size_t i = 0; i < weights.size(); ++i) {
        problem.log_q[i] += fixed_log(weights[i]);
        problem.q2[i] *= weights[i];
    }
    for (double& q : problem.q2) q *= q;
}

}  // namespace

Result<DppProblem> DppProblem::make(const VectorRows& items, std::span<const float> relevance,
                                    const DppOptions& options) {
    const std::vector<float> weights(options.weights.begin(), options.weights.end());
    DppProblem problem;
    problem.relevance.assign(relevance.begin(), relevance.end());
    problem.ridge = options.ridge;
    Status status = check_item_column("relevance", relevance.size(), items);
    if (status.ok()) status = check_options(items, options);
    if (status.ok()) status = check_finite(problem.relevance, "relevance");
    if (status.ok()) status = check_weights(weights, items);
    if (!status.ok()) return status;
    auto rows = FeatureRows::make(items, options, options.type_weight, options.types);
    if (!rows.ok()) return rows.status();
    problem.rows = std::move(rows.value());
    set_qualities(options.alpha, weights, problem);
    problem.first_rho.resize(items.rows);
    for (std::size_t i = 0; i < items.rows; ++i) {
        problem.first_rho[i] = problem.rows.squared_length(i) + options.ridge;
    }
    return problem;
}

double DppProblem::feature(std::size_t row, std::span<double> out) const {
    rows.write_vector(row, out);
    if (row < n()) return first_rho[row];
    double rho = ridge;
    for (const double x : out) rho += x * x;
    for (std::size_t f = 0; f < rows.facets.size(); ++f) rho += rows.facets.has_shown[f] ? rows.facets.weights[f] : 0.0;
    return rho;
}

double dpp_alpha(double diversity) noexcept {
    if (diversity == 0.0) return std::numeric_limits<double>::infinity();
    return (1.0 - diversity) / (2.0 * diversity);
}

}  // namespace karec
