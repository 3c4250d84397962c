#include "search/score_bound.hpp"

#include <algorithm>
#include <limits>

namespace karec {
namespace {

constexpr double kUnit = 0x1p-24;
constexpr double kHighest = 0x1p126;
constexpr double kRounding = 1.0 + 0x1p-18;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// NaN is ignored: its row passes anyway.
void raise_max(float& max, float value) noexcept {
    max = std::abs(value) > max ? std::abs(value) : max;
}

}  // namespace

float bound_error(std::span<const float> padded_query, double norm, const BoundKernels& kernels) noexcept {
    if (norm == 0.0) return 0.0f;
    const auto n = static_cast<double>(padded_query.size());
    const double r = kernels.unit_roundoff;
    return static_cast<float>(norm * (2.0 * r + r * r + (4.0 * n + 64.0) * kUnit) + n * 0x1p-62 * (1.0 + norm));
}

void TileBound::compute(const Generation& g, const Tile& tile, float max_square, double max_norm) noexcept {
    const auto n = static_cast<double>(g.format.padded_dim());
    const double norm = std::sqrt((max_square + n * 0x1p-126) * (1.0 + (n + 3.0) * 0x1p-23));
    float v = 1.0f;  // V, A', W and B of the proof
    float a = 0.0f;
    float w = 1.0f;
    float b = 0.0f;
    const bool calibrated = g.is_calibrated();
    is_adjusted_ = calibrated || !g.adjustments.empty();
    if (calibrated) {
        v = 0.0f;
        for (std::size_t i = 0; i < kTile; ++i) {
            // A writer may write the code of an excluded row.
            const bool is_open = i < tile.n && (tile.excluded >> i & 1) == 0;
            const ModelVersion& version = g.versions[is_open ? g.code_of(tile.first + i) : 0];
            scales_[i] = is_open ? version.scale : 0.0f;
            offsets_[i] = is_open ? version.offset : 0.0f;
            raise_max(v, scales_[i]);
            raise_max(a, offsets_[i]);
        }
    }
    if (!g.adjustments.empty()) {
        const Adjustment* adjustments = g.adjustments.at(tile.first);  // a tile is within one page
        w = 0.0f;
        for (std::size_t i = 0; i < kTile; ++i) {
            const Adjustment adjustment = i < tile.n ? adjustments[i] : Adjustment{};
            raise_max(w, adjustment.scale);
            raise_max(b, adjustment.offset);
            scales_[i] = calibrated ? scales_[i] * adjustment.scale : adjustment.scale;
            offsets_[i] = calibrated ? offsets_[i] * adjustment.scale + adjustment.offset : adjustment.offset;
        }
    }
    const double scale = static_cast<double>(v) * w;
    const double offset = static_cast<double>(a) * w + b;
    const double product = 1.02 * norm * max_norm;
    const double highest = std::max({product, max_norm, product * v + a, scale, product * scale + offset});
    margin_.slope = highest < kHighest ? static_cast<float>(std::max(norm * scale * kRounding, 0x1p-100)) : kInfinity;
    margin_.base = static_cast<float>((16.0 * kUnit * offset + 0x1p-120 * (1.0 + w + product)) * kRounding);
}

}  // namespace karec
