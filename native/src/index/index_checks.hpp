// What build and upsert refuse, in the same words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/checks.hpp"
#include "index/generation.hpp"
#include "karec/item_index.hpp"

namespace karec {

// Refuses another number of rows than of ids, a dimension outside 1 to kMaxDim, a dtype that is neither float16 nor
// float32, NaN, infinity, and values that rows of dtype `stored` cannot hold.
Status check_vectors(std::span<const std::int64_t> ids, const MatrixView& embeddings, DType stored);

// Refuses a column that has not n elements.
Status check_column(const Column& column, std::size_t n);

// The refusal of a name that no column has.
Status no_column(std::string_view name);

// The refusal of an id that is given at two positions.
Status stands_twice(std::int64_t id, std::size_t again);

// Refuses an id map that does not fit the ids. Only a file opened without verify can have one. Writes need a map that
// fits; reads do not. O(N) until it has passed once.
Status check_map(const Generation& g);

}  // namespace karec
