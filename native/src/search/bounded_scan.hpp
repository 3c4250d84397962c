// A scan of all float16 or float32 rows for many queries at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "index/generation.hpp"
#include "karec/index_view.hpp"
#include "search/top_k.hpp"

namespace karec {

// The number of queries from which it is faster than a search for each.
inline constexpr std::size_t kBoundedFor = 3;

// Offers tops[q] every row that `mask` and blocks leave and that may be among the k best, scored for queries[q] as a
// search scores it, rows ascending. Rows it does not offer are certain to lose (search/score_bound.hpp).
void bounded_scan(const Generation& g, std::span<const Query> queries, std::span<const std::uint8_t> mask,
                  std::size_t k, std::span<TopK> tops);

}  // namespace karec
