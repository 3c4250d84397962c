// The algorithms of IndexView::search_all: a scan of all rows for many queries; for one query, a scan of the rows of
// the nearest lists, and the selection of a large k.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/scratch.hpp"
#include "index/generation.hpp"
#include "karec/index_view.hpp"
#include "search/scoring.hpp"
#include "search/top_k.hpp"

namespace karec {

// The number of queries from which bounded_scan() is faster than exact scores of every row.
inline constexpr std::size_t kMinBoundedQueries = 3;

// Offers tops[q] every open row in `mask` whose score for queries[q] can be among the k best, rows ascending, with its
// exact score. All other rows score less (search/score_bound.hpp). Rows are float16 or float32.
void bounded_scan(const Generation& g, std::span<const Query> queries, std::span<const std::uint8_t> mask,
                  std::size_t k, std::span<TopK> tops);

// Returns, ascending, the open rows in `mask` of the n_probe lists whose centroids have the largest inner products with
// `query` (ties: the lowest list), and of no list. O(n_lists·D + n_rows / 64 + rows written since the lists were built
// + rows returned).
ScratchVector<std::int32_t> find_probed_rows(const Generation& g, const Query& query,
                                             std::span<const std::uint8_t> mask, std::size_t n_probe);

// select_large_k() is faster than a TopK if k is at least this part of the rows: 1 / kMaxRowsPerK.
inline constexpr std::size_t kMaxRowsPerK = 4;

// Writes the out.scores.size() best of `rows`, which are open and ascend, ties by the lowest row, and returns how many
// it wrote: rows of a version without a query are skipped. g has no float32 rows to rescore from.
std::size_t select_large_k(const Generation& g, const PaddedQueries& queries, std::span<const std::int32_t> rows,
                           const Ranked& out);

// Returns an ordered_score() that at least k of n scores reach, and at most k / 32 more unless they are equal. k ≤ n;
// NaN counts as −inf.
std::uint32_t find_kth_score(const float* scores, std::size_t n, std::size_t k);

}  // namespace karec
