// The rows that a search by lists scores.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/scratch.hpp"
#include "index/generation.hpp"
#include "karec/index_view.hpp"

namespace karec {

// Ascending: the rows of the n_probe lists whose centroids have the largest inner products with `query`, ties by the
// lowest list, and the rows that are in no list; without closed ones and those that the mask leaves out.
// O(n_lists·D + n_rows / 64 + rows written since the lists were made + rows).
ScratchVector<std::int32_t> probed_rows(const Generation& g, const Query& query, std::span<const std::uint8_t> mask,
                                        std::size_t n_probe);

}  // namespace karec
