// A tile: 64 consecutive rows of a generation, and their exact scores.
//
// Threads: one at a time.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "index/generation.hpp"
#include "search/mask_word.hpp"
#include "search/scoring.hpp"
#include "search/top_k.hpp"

namespace karec {

inline constexpr std::size_t kTile = 64;

// Up to 64 consecutive rows: the addresses of their vectors and codes, and which rows are excluded.
struct Tile {
    // `mask` is empty or has a byte a row; rows with 0 and rows after its end are excluded. Empty from g.n_rows() on.
    // A tile whose rows are all excluded by the mask has no vectors.
    void read(const Generation& g, std::size_t first_row, std::span<const std::uint8_t> mask) {
        first = first_row;
        n = std::min(kTile, g.n_rows() - first_row);
        if (n == 0) return;
        excluded = g.closed.word(first / kTile);
        if (!mask.empty()) {
            excluded |= ~mask_word(mask, first) & ~std::uint64_t{0} >> (kTile - n);
            if (is_empty()) return;
        }
        if (g.rows.contiguous_from(first) >= n) {
            const std::size_t stride = g.format.stride();
            const std::byte* vector = g.rows.at(first);
            for (std::size_t i = 0; i < n; ++i, vector += stride) vectors[i] = vector;
        } else {
            for (std::size_t i = 0; i < n; ++i) vectors[i] = g.rows.at(first + i);
        }
        for (std::size_t i = 0; i < n && !g.item_codes.empty(); ++i) {
            codes[i] = excluded >> i & 1 ? kNoCodes : g.item_codes.at(first + i);
        }
        if (is_whole() || is_empty()) return;
        // A writer may write a row that has no item at this moment: another row is read in its place.
        const std::byte* substitute = vectors[std::countr_one(excluded)];
        for (std::size_t i = 0; i < n; ++i) vectors[i] = excluded >> i & 1 ? substitute : vectors[i];
    }

    bool is_whole() const noexcept { return excluded == 0; }
    bool is_empty() const noexcept { return ~excluded << (kTile - n) == 0; }

    // rows[i] = row i of the tile, kUnknownRow if it is excluded.
    void list_rows(std::int32_t* rows) const noexcept {
        for (std::size_t i = 0; i < n; ++i) {
            rows[i] = excluded >> i & 1 ? kUnknownRow : static_cast<std::int32_t>(first + i);
        }
    }

    std::size_t first = 0;
    std::size_t n = 0;
    std::uint64_t excluded = 0;  // a bit for each row
    const std::byte* vectors[kTile];
    const std::uint32_t* codes[kTile];  // not set if the index has none
};
static_assert(kTile == 64, "one word of a RowSet");

// adjust_scores for a whole tile: its scales and adjustments are contiguous in one page. `rows` are read for tables.
inline void adjust_tile(const Generation& g, const Tile& tile, const PaddedQueries& queries, const std::int32_t* rows,
                        const std::uint32_t* const* next, float* scores) noexcept {
    if (queries.is_int8()) {
        const float* scales = g.scales.at(tile.first);
        for (std::size_t i = 0; i < tile.n; ++i) scores[i] *= scales[i];
    }
    if (queries.has_tables()) queries.add_tables(g, rows, tile.codes, next, tile.n, scores);
    if (g.is_calibrated()) {
        for (std::size_t i = 0; i < tile.n; ++i) scores[i] = g.calibrate_score(tile.first + i, scores[i]);
    }
    if (g.adjustments.empty()) return;
    const Adjustment* adjustments = g.adjustments.at(tile.first);
    for (std::size_t i = 0; i < tile.n; ++i) {
        scores[i] = scores[i] * adjustments[i].scale + adjustments[i].offset;
    }
}

// Offers the exact scores of the tile's rows to `top`. Prefetches the vectors and codes of `next`, a tile of as many
// rows, if it is not null.
inline void offer_tile(const Generation& g, const Tile& tile, const PaddedQueries& queries, TopK& top,
                       const Tile* next) {
    const bool has_all_rows = queries.is_single() && tile.is_whole();
    std::int32_t rows[kTile];
    float scores[kTile];
    if (!has_all_rows || queries.has_tables()) tile.list_rows(rows);
    queries.dot(g, rows, tile.vectors, next != nullptr ? next->vectors : nullptr, tile.n, scores);
    const std::uint32_t* const* next_codes = next != nullptr ? next->codes : nullptr;
    if (tile.is_whole()) {
        adjust_tile(g, tile, queries, rows, next_codes, scores);
    } else {
        adjust_scores(g, queries, rows, tile.codes, next_codes, tile.n, scores);
    }
    top.offer(scores, has_all_rows ? nullptr : rows, tile.n, static_cast<std::uint32_t>(tile.first));
}

}  // namespace karec
