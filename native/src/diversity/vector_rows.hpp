// Read-only vectors of another owner: a matrix, or single rows by address, as in an item index.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "karec/array.hpp"
#include "karec/status.hpp"

namespace karec {

struct VectorRows {
    VectorRows() = default;
    VectorRows(const MatrixView& matrix)
        : rows(matrix.rows),
          cols(matrix.cols),
          dtype(matrix.dtype),
          first(static_cast<const std::byte*>(matrix.data)),
          stride(matrix.cols * size_of(matrix.dtype)) {}

    const std::byte* at(std::size_t row) const noexcept { return places.empty() ? first + row * stride : places[row]; }

    // The row as float32: in place, or decoded into `scratch` (cols). Not for float16.
    const float* floats(std::size_t row, float* scratch) const noexcept;

    std::size_t rows = 0;
    std::size_t cols = 0;
    DType dtype = DType::float32;  // float32, float16, or, in an index, int8 with scales
    const std::byte* first = nullptr;
    std::size_t stride = 0;
    std::span<const std::byte* const> places;  // (rows,) the address of each row; replaces first and stride
    std::span<const float> scales;             // (rows,) of int8 rows
};

// ‖row‖² of each row. Refuses NaN and infinity, as "<name> holds …".
Result<std::vector<double>> finite_squared_norms(const VectorRows& rows, const char* name);

// out (D) = factor · row.
void scaled_row(const VectorRows& rows, std::size_t row, double factor, std::span<double> out);

}  // namespace karec
