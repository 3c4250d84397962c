#include "dpp_problem.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "fixed_math.hpp"
#include "half.hpp"
#include "row_format.hpp"

namespace karec {
namespace {

std::string count(std::size_t n) {
    return std::to_string(n);
}
std::string shape(const MatrixView& m) {
    return "(" + count(m.rows) + ", " + count(m.cols) + ")";
}

Status check_length(const char* name, std::size_t length, const MatrixView& embeddings) {
    if (length == embeddings.rows) return {};
    return Status::invalid(std::string(name) + " has shape (" + count(length) + ",), expected (" +
                           count(embeddings.rows) + ",) as embeddings has shape " + shape(embeddings));
}

Status check_options(const MatrixView& embeddings, const DppOptions& options) {
    const auto number = [](double value) { return std::to_string(value); };
    if (!(options.alpha >= 0.0)) return Status::invalid("alpha must be ≥ 0, got " + number(options.alpha));
    if (!(options.ridge >= 0.0) || std::isinf(options.ridge)) {
        return Status::invalid("ridge must be finite and ≥ 0, got " + number(options.ridge));
    }
    const double type_weight = options.type_weight;
    if (std::isnan(type_weight) || type_weight < 0.0 || type_weight > 1.0) {
        return Status::invalid("type_weight must lie in [0, 1], got " + number(options.type_weight));
    }
    if (options.window && *options.window == 0) return Status::invalid("window must be ≥ 1, got 0");
    if (options.max_per_type && *options.max_per_type == 0) return Status::invalid("max_per_type must be ≥ 1, got 0");
    if (options.types.empty() && embeddings.rows > 0 && (options.type_weight > 0.0 || options.max_per_type)) {
        return Status::invalid("type_weight and max_per_type need types");
    }
    if (options.shown.rows > 0 && options.shown.cols != embeddings.cols) {
        return Status::invalid("shown has shape " + shape(options.shown) + ", expected (M, " + count(embeddings.cols) +
                               ") as embeddings has shape " + shape(embeddings));
    }
    return {};
}

Status check_input(const MatrixView& embeddings, std::span<const float> relevance, const DppOptions& options) {
    if (Status status = check_length("relevance", relevance.size(), embeddings); !status.ok()) return status;
    if (!options.weights.empty()) {
        if (Status status = check_length("weights", options.weights.size(), embeddings); !status.ok()) return status;
    }
    if (!options.types.empty()) {
        if (Status status = check_length("types", options.types.size(), embeddings); !status.ok()) return status;
    }
    if (Status status = check_options(embeddings, options); !status.ok()) return status;
    if (Status status = check_finite(embeddings, "embeddings"); !status.ok()) return status;
    if (Status status = check_finite(relevance, "relevance"); !status.ok()) return status;
    if (Status status = check_finite(options.weights, "weights"); !status.ok()) return status;
    if (Status status = check_finite(options.shown, "shown"); !status.ok()) return status;
    for (std::size_t i = 0; i < options.weights.size(); ++i) {
        if (options.weights[i] < 0.0f) {
            return Status::invalid("weights holds " + std::to_string(options.weights[i]) + " at position " + count(i) +
                                   ", expected ≥ 0");
        }
    }
    return {};
}

template <class T>
double value_of(T element) noexcept {
    if constexpr (sizeof(T) == 2) return half_to_float(element);
    return element;
}

// Eight partial sums and a fixed tree: the order does not depend on the instruction set.
template <class T>
double squared_norm(const T* row, std::size_t dim) noexcept {
    double sums[8] = {};
    for (std::size_t d = 0; d < dim; ++d) {
        const double x = value_of(row[d]);
        sums[d % 8] += x * x;
    }
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

template <class T>
void unit_row(const T* row, std::size_t dim, double scale, double* out) noexcept {
    const double norm = std::sqrt(squared_norm(row, dim));
    const double factor = norm > 0.0 ? scale / norm : 0.0;
    for (std::size_t d = 0; d < dim; ++d) out[d] = factor * value_of(row[d]);
}

void unit_row(const MatrixView& matrix, std::size_t row, double scale, double* out) noexcept {
    const std::size_t at = row * matrix.cols;
    if (matrix.dtype == DType::float16) {
        unit_row(static_cast<const std::uint16_t*>(matrix.data) + at, matrix.cols, scale, out);
    } else {
        unit_row(static_cast<const float*>(matrix.data) + at, matrix.cols, scale, out);
    }
}

template <class T>
bool is_zero(const T* row, std::size_t dim) noexcept {
    return std::all_of(row, row + dim, [](T x) { return value_of(x) == 0.0; });
}

bool is_zero(const MatrixView& matrix, std::size_t row) noexcept {
    const std::size_t at = row * matrix.cols;
    if (matrix.dtype == DType::float16) {
        return is_zero(static_cast<const std::uint16_t*>(matrix.data) + at, matrix.cols);
    }
    return is_zero(static_cast<const float*>(matrix.data) + at, matrix.cols);
}

void set_qualities(std::span<const float> relevance, const DppOptions& options, DppProblem& problem) {
    const std::size_t n = relevance.size();
    problem.log_q.resize(n);
    problem.q2.resize(n);
    const float best = n == 0 ? 0.0f : *std::max_element(relevance.begin(), relevance.end());
    for (std::size_t i = 0; i < n; ++i) {
        const double below = static_cast<double>(relevance[i]) - best;
        const double exponent = below == 0.0 ? 0.0 : options.alpha * below;
        const double weight = options.weights.empty() ? 1.0 : options.weights[i];
        const double q = weight * fixed_exp(exponent);
        problem.log_q[i] = options.weights.empty() ? exponent : exponent + fixed_log(weight);
        problem.q2[i] = q * q;
    }
}

void set_types(const DppOptions& options, DppProblem& problem) {
    std::vector<std::int64_t> codes(options.types.begin(), options.types.end());
    std::sort(codes.begin(), codes.end());
    codes.erase(std::unique(codes.begin(), codes.end()), codes.end());
    problem.n_types = codes.size();
    problem.type_of.reserve(options.types.size());
    for (const std::int64_t type : options.types) {
        const auto at = std::lower_bound(codes.begin(), codes.end(), type);
        problem.type_of.push_back(static_cast<std::int32_t>(at - codes.begin()));
    }
}

}  // namespace

void DppProblem::embedding_part(std::size_t item, std::span<double> out) const noexcept {
    unit_row(embeddings, item, feature_scale, out.data());
}

void DppProblem::feature(std::size_t item, std::span<double> out) const noexcept {
    embedding_part(item, out);
    if (!types_count()) return;
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(dim()), out.end(), 0.0);
    out[dim() + static_cast<std::size_t>(type_of[item])] = type_scale;
}

void DppProblem::shown_feature(const MatrixView& shown, std::size_t row, std::span<double> out) const noexcept {
    unit_row(shown, row, feature_scale, out.data());
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(dim()), out.end(), 0.0);
}

Result<DppProblem> pose_dpp(MatrixView embeddings, std::span<const float> relevance, const DppOptions& options) {
    if (Status status = check_input(embeddings, relevance, options); !status.ok()) return status;
    DppProblem problem;
    problem.embeddings = embeddings;
    problem.relevance = relevance;
    problem.ridge = options.ridge;
    problem.feature_scale = std::sqrt(1.0 - options.type_weight);
    problem.type_scale = std::sqrt(options.type_weight);
    set_qualities(relevance, options, problem);
    set_types(options, problem);
    problem.first_rho.resize(embeddings.rows);
    for (std::size_t i = 0; i < embeddings.rows; ++i) {
        const double unit = is_zero(embeddings, i) ? 0.0 : 1.0 - options.type_weight;
        problem.first_rho[i] = unit + options.type_weight + options.ridge;
    }
    return problem;
}

double dpp_alpha(double diversity) noexcept {
    if (diversity == 0.0) return std::numeric_limits<double>::infinity();
    return (1.0 - diversity) / (2.0 * diversity);
}

}  // namespace karec
