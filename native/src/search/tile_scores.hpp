// Exact scores of a tile.
//
// For one or two queries its rows are read in place. For many they are packed once, as float32 with the dimensions of
// 64 rows side by side: a query then takes its 16 partial sums of 16 rows at a time, and adds no lanes of a vector.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "index/generation.hpp"
#include "kernels/kernels.hpp"
#include "search/scoring.hpp"
#include "search/tile.hpp"
#include "search/top_k.hpp"

namespace karec {

// adjust_scores for a whole tile, whose scales and adjustments are contiguous within one page.
inline void adjust_tile(const Generation& g, const Tile& tile, bool int8, float* scores) noexcept {
    if (int8) {
        const float* scales = g.scales.at(tile.first);
        for (std::size_t i = 0; i < tile.n; ++i) scores[i] *= scales[i];
    }
    if (g.is_calibrated()) {
        for (std::size_t i = 0; i < tile.n; ++i) scores[i] = g.on_one_scale(tile.first + i, scores[i]);
    }
    if (g.adjustments.empty()) return;
    const Adjustment* adjustments = g.adjustments.at(tile.first);
    for (std::size_t i = 0; i < tile.n; ++i) {
        scores[i] = scores[i] * adjustments[i].scale + adjustments[i].offset;
    }
}

// Offers the scores of the tile's rows to `top`: dot(rows, scores) gives their inner products with `ready`.
template <class Dot>
void offer_tile(const Generation& g, const Tile& tile, const ReadyQuery& ready, TopK& top, Dot&& dot) {
    const bool int8 = g.format.dtype == DType::int8;
    const bool every = ready.one_for_all() && tile.whole();
    std::int32_t rows[kTile];
    float scores[kTile];
    if (!every) tile.list(rows);
    dot(rows, scores);
    if (tile.whole()) {
        adjust_tile(g, tile, int8, scores);
    } else {
        adjust_scores(g, rows, tile.n, int8, scores);
    }
    top.offer(scores, every ? nullptr : rows, tile.n, static_cast<std::uint32_t>(tile.first));
}

// The float rows of one tile after another, packed.
class PackedTile {
  public:
    explicit PackedTile(const Generation& g) : g_(g), block_(g.format.padded_dim() * kTile) {
        std::fill_n(ones_, kTile, 1.0);
    }

    // `tile` is not empty, and all its 64 addresses can be read.
    void show(const Tile& tile) noexcept {
        const void* rows[kTile];
        std::copy_n(tile.at, kTile, rows);
        const Kernels& loops = kernels();
        const auto pack = g_.format.dtype == DType::float16 ? loops.pack_float16 : loops.pack_float32;
        pack(rows, ones_, 1.0, g_.format.padded_dim(), &block_[0]);  // of length 1: every row is multiplied by 1
    }

    void offer(const Tile& tile, const ReadyQuery& ready, TopK& top) const {
        offer_tile(g_, tile, ready, top,
                   [&](std::int32_t* rows, float* scores) { ready.dot_packed(g_, rows, &block_[0], tile.n, scores); });
    }

  private:
    const Generation& g_;
    ScratchArray<float> block_;
    double ones_[kTile];
};

}  // namespace karec
