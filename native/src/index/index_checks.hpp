// Checks and messages that build, upsert and reads share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/checks.hpp"
#include "index/generation.hpp"
#include "karec/item_index.hpp"

namespace karec {

// invalid_argument: not one row for each id, not 1 to kMaxDim dimensions, or a dtype other than float16 and float32.
Status check_shape(std::span<const std::int64_t> ids, const MatrixView& embeddings);

// Copies the caller's vectors one by one: the values that are checked are the values that are stored, even if another
// thread writes to the matrix.
class VectorInput {
  public:
    // `stored`: the dtype of the index.
    VectorInput(const MatrixView& matrix, DType stored);

    // Copies row i. invalid_argument: NaN, infinity, or a value that `stored` cannot hold, with its position.
    Status copy_row(std::size_t i);

    // The copy, as a matrix of one row. Valid until the next copy_row.
    MatrixView row() const noexcept { return {copy_.data(), 1, matrix_.cols, matrix_.dtype}; }

  private:
    MatrixView matrix_;
    DType stored_;
    std::vector<std::byte> copy_;
};

// invalid_argument: the column does not have n elements.
Status check_column(const Column& column, std::size_t n);

// invalid_argument: more than kMaxCodeColumns, or a column without n elements of uint32.
Status check_code_columns(std::span<const Column> columns, std::size_t n);

// The error for a name that no column has.
Status missing_column(std::string_view name);

// The error for an id that appears again at `position`.
Status repeated_id(std::int64_t id, std::size_t position);

// bad_format: the id map does not match the ids, which is possible only in a file opened without verify. Writes need a
// map that fits; reads do not. O(N) until it has passed once.
Status check_map(const Generation& g);

}  // namespace karec
