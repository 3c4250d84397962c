#include "diversity/vector_map.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/fixed_math.hpp"
#include "kernels/kernels.hpp"

namespace karec {
namespace {

bool all_finite(std::span<const double> values) noexcept {
    return std::ranges::all_of(values, [](double x) { return std::isfinite(x); });
}

}  // namespace

Result<VectorMap> VectorMap::make(std::span<const double> mean, std::span<const double> axes,
                                  std::span<const double> variances, double exponent) {
    const std::size_t dim = variances.size();
    if (!(exponent >= 0.0 && exponent <= 1.0)) {
        return Status::invalid("whiten must lie in [0, 1], got " + std::to_string(exponent));
    }
    const bool fits = (mean.empty() || mean.size() == dim) && axes.size() == dim * dim;
    const bool positive = std::ranges::all_of(variances, [](double v) { return v > 0.0; });
    if (!fits || !positive || !all_finite(mean) || !all_finite(axes) || !all_finite(variances)) {
        return Status::invalid("mean (D,), axes (D, D) and variances (D,) > 0 of vectors must be finite, D = " +
                               std::to_string(dim));
    }
    VectorMap map;
    map.dim_ = dim;
    map.mean_.assign(mean.begin(), mean.end());
    if (exponent == 0.0 || dim == 0) return map;
    const double most = *std::ranges::max_element(variances);
    std::vector<double> factors(dim);
    // (most / variance)^(exponent / 2). std::pow has other bits in another C library.
    for (std::size_t a = 0; a < dim; ++a) {
        const double log_ratio = fixed_log(most) - fixed_log(variances[a]);
        factors[a] = 1.0 / fixed_exp(-0.5 * exponent * log_ratio);
    }
    const std::size_t n_blocks = (dim + kBlockItems - 1) / kBlockItems;
    map.weights_.assign(n_blocks * kBlockItems * dim, 0.0f);
    for (std::size_t out = 0; out < dim; ++out) {
        float* to = &map.weights_[out / kBlockItems * kBlockItems * dim + out % kBlockItems];
        for (std::size_t in = 0; in < dim; ++in) {
            double sum = 0.0;
            for (std::size_t a = 0; a < dim; ++a) sum += axes[a * dim + out] * factors[a] * axes[a * dim + in];
            to[in * kBlockItems] = static_cast<float>(sum);
        }
    }
    return map;
}

void VectorMap::apply(std::span<float> rows) const {
    const std::size_t n_blocks = (dim_ + kBlockItems - 1) / kBlockItems;
    std::vector<float> mapped(n_blocks * kBlockItems);
    for (; !rows.empty(); rows = rows.subspan(dim_)) {
        const std::span<float> row = rows.first(dim_);
        if (std::ranges::all_of(row, [](float x) { return x == 0.0f; })) continue;
        for (std::size_t d = 0; d < mean_.size(); ++d) row[d] = static_cast<float>(row[d] - mean_[d]);
        if (weights_.empty()) continue;
        std::ranges::fill(mapped, 0.0f);
        for (std::size_t b = 0; b < n_blocks; ++b) {
            const float* block = &weights_[b * kBlockItems * dim_];
            kernels().gemv_packed(block, dim_, row.data(), &mapped[b * kBlockItems]);
        }
        std::copy_n(mapped.begin(), dim_, row.begin());
    }
}

}  // namespace karec
