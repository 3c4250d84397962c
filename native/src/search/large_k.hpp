// The k best of many rows where k is a large part of them.
//
// Algorithm: all rows are scored, and their scores lie side by side. By bisection, a pass over the scores a step, a
// number is found that at least k of them reach and few more (kernels/kernels.hpp). Those are sorted, after
// their ids were read in the order of rows, which is that of memory.
// Cost: O(rows·D) to score; a pass over the scores for each of some 10 steps, of 44 at most; O(k) to sort.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "index/generation.hpp"
#include "karec/index_view.hpp"
#include "search/scoring.hpp"

namespace karec {

inline constexpr std::size_t kLargePart = 4;  // k is a large part of up to so many times k

// Writes the out.scores.size() best of `rows`, which ascend and hold works, ties by the lowest row, and returns how
// many there are: rows of a version without a query are not. g has no float32 rows to score again from.
std::size_t best_of_rows(const Generation& g, const ReadyQuery& query, std::span<const std::int32_t> rows,
                         const Ranked& out);

// At least k of the scores, and at most k / 32 more if so many are not equal, reach what is returned: an
// ordered_score(). k ≤ n; NaN counts as −inf.
std::uint32_t reached_by(const float* scores, std::size_t n, std::size_t k);

}  // namespace karec
