// The last step of a search over int8 rows with float32 rows: the best are scored again from the float32 rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "search/scoring.hpp"
#include "search/top_k.hpp"

namespace karec {

// Returns how many candidates to collect for the k best: 1.2·k if they are rescored, else k.
inline std::size_t n_to_rescore(const Generation& g, std::size_t k) noexcept {
    return g.has_exact_rows ? k + (k + 4) / 5 : k;
}

// Replaces `top` by the best k of its entries, scored from float32 rows. Does nothing without float32 rows.
// row_of(position) is the row of an entry.
template <class RowOf>
void rescore(const Generation& g, const Query& query, std::size_t k, RowOf&& row_of, TopK& top) {
    if (!g.has_exact_rows) return;
    const PaddedQueries queries(query, g, g.exact_format());
    ScratchVector<std::uint32_t> positions;
    top.finish([&](std::size_t, float, std::uint32_t position) { positions.push_back(position); });
    std::ranges::sort(positions);
    TopK exact(k, positions.size());
    std::int32_t rows[kScoreBlock];
    const std::byte* vectors[kScoreBlock];
    const std::uint32_t* codes[kScoreBlock];
    float scores[kScoreBlock];
    for (std::size_t first = 0; first < positions.size(); first += kScoreBlock) {
        const std::size_t n = std::min(kScoreBlock, positions.size() - first);
        for (std::size_t i = 0; i < n; ++i) {
            rows[i] = row_of(positions[first + i]);
            vectors[i] = g.exact_rows.at(static_cast<std::size_t>(rows[i]));
        }
        queries.dot(g, rows, vectors, nullptr, n, scores);
        if (queries.has_tables()) find_codes(g, rows, n, codes);
        adjust_scores(g, queries, rows, codes, nullptr, n, scores);
        for (std::size_t i = 0; i < n; ++i) exact.offer(scores[i], positions[first + i]);
    }
    top = std::move(exact);
}

}  // namespace karec
