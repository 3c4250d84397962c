// 64 consecutive rows of a generation, as a scan reads them.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "index/generation.hpp"
#include "search/scoring.hpp"

namespace karec {

inline constexpr std::size_t kTile = 64;

// Up to 64 consecutive rows: their addresses, and which of them are left out.
struct Tile {
    void show(const Generation& g, std::size_t first_row, std::span<const std::uint8_t> mask) {
        first = first_row;
        n = std::min(kTile, g.n_rows() - first_row);
        if (n == 0) return;
        left_out = g.closed.word(first / kTile);
        for (std::size_t i = 0; i < n && !mask.empty(); ++i) {
            const bool kept = first + i < mask.size() && mask[first + i] != 0;
            left_out |= std::uint64_t{!kept} << i;
        }
        if (g.rows.contiguous_from(first) >= n) {
            const std::size_t stride = g.format.stride();
            const std::byte* row = g.rows.at(first);
            for (std::size_t i = 0; i < n; ++i, row += stride) at[i] = row;
        } else {
            for (std::size_t i = 0; i < n; ++i) at[i] = g.rows.at(first + i);
        }
        if (whole() || empty()) return;
        // A writer may be writing a row that holds no work: read another row in its place.
        const std::byte* stand_in = at[std::countr_one(left_out)];
        for (std::size_t i = 0; i < n; ++i) at[i] = left_out >> i & 1 ? stand_in : at[i];
    }

    bool whole() const noexcept { return left_out == 0; }
    bool empty() const noexcept { return ~left_out << (kTile - n) == 0; }

    // rows[i] = the row, kUnknownRow where it is left out.
    void list(std::int32_t* rows) const noexcept {
        for (std::size_t i = 0; i < n; ++i) {
            rows[i] = left_out >> i & 1 ? kUnknownRow : static_cast<std::int32_t>(first + i);
        }
    }

    std::size_t first = 0;
    std::size_t n = 0;
    std::uint64_t left_out = 0;
    const std::byte* at[kTile];
};
static_assert(kTile == 64, "one word of a RowSet");

}  // namespace karec
