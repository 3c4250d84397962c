#include "search/score_bound.hpp"

#include <algorithm>
#include <limits>

namespace karec {
namespace {

constexpr double kUnit = 0x1p-24;
constexpr double kHighest = 0x1p126;
constexpr double kRounding = 1.0 + 0x1p-18;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// NaN is passed over: its row passes by itself.
void raise(float& largest, float value) noexcept {
    largest = std::abs(value) > largest ? std::abs(value) : largest;
}

}  // namespace

float bound_error(std::span<const float> padded_query, double norm, const BoundKernels& kernels) noexcept {
    if (norm == 0.0) return 0.0f;
    const auto n = static_cast<double>(padded_query.size());
    const double r = kernels.unit_roundoff;
    return static_cast<float>(norm * (2.0 * r + r * r + (4.0 * n + 64.0) * kUnit) + n * 0x1p-62 * (1.0 + norm));
}

void TileBound::show(const Generation& g, const Tile& tile, float largest_square, double largest_norm) noexcept {
    const auto n = static_cast<double>(g.format.padded_dim());
    const double norm = std::sqrt((largest_square + n * 0x1p-126) * (1.0 + (n + 3.0) * 0x1p-23));
    float v = 1.0f;  // the largest of the tile, as in the proof
    float a = 0.0f;
    float w = 1.0f;
    float b = 0.0f;
    const bool calibrated = g.is_calibrated();
    adjusted_ = calibrated || !g.adjustments.empty();
    if (calibrated) {
        v = 0.0f;
        for (std::size_t i = 0; i < kTile; ++i) {
            // The code of a row that is left out may just be written.
            const bool here = i < tile.n && (tile.left_out >> i & 1) == 0;
            const ModelVersion& version = g.versions[here ? g.code_of(tile.first + i) : 0];
            scales_[i] = here ? version.scale : 0.0f;
            offsets_[i] = here ? version.offset : 0.0f;
            raise(v, scales_[i]);
            raise(a, offsets_[i]);
        }
    }
    if (!g.adjustments.empty()) {
        const Adjustment* adjustments = g.adjustments.at(tile.first);  // one page holds those of a tile
        w = 0.0f;
        for (std::size_t i = 0; i < kTile; ++i) {
            const Adjustment adjustment = i < tile.n ? adjustments[i] : Adjustment{};
            raise(w, adjustment.scale);
            raise(b, adjustment.offset);
            scales_[i] = calibrated ? scales_[i] * adjustment.scale : adjustment.scale;
            offsets_[i] = calibrated ? offsets_[i] * adjustment.scale + adjustment.offset : adjustment.offset;
        }
    }
    const double scale = static_cast<double>(v) * w;
    const double offset = static_cast<double>(a) * w + b;
    const double product = 1.02 * norm * largest_norm;
    const double highest = std::max({product, largest_norm, product * v + a, scale, product * scale + offset});
    margin_.slope = highest < kHighest ? static_cast<float>(std::max(norm * scale * kRounding, 0x1p-100)) : kInfinity;
    margin_.base = static_cast<float>((16.0 * kUnit * offset + 0x1p-120 * (1.0 + w + product)) * kRounding);
}

}  // namespace karec
