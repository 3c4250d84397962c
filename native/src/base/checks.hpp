// Checks of the caller's paths and arrays. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "karec/array.hpp"
#include "karec/status.hpp"

namespace karec {

// Refuses a path with a NUL byte: the operating system would end the path there.
Status check_path(const std::string& path);

// Refuses two arrays of different lengths: "<first> has n entries, <second> has m".
Status check_lengths(const char* first, std::size_t n_first, const char* second, std::size_t n_second);

// Refuses a matrix of another dtype than float16 and float32.
Status check_float(const MatrixView& matrix, const char* name);

// Refuses the first NaN or infinity: "<name> holds NaN at (row, column)", or "at position i". O(elements).
// Rows of messages count from first_row.
Status check_finite(MatrixView matrix, const char* name, std::size_t first_row = 0);
Status check_finite(std::span<const float> values, const char* name);

// Refuses the first value of a float32 matrix that is out of the range of float16, if `stored` is float16. O(elements).
Status check_range(const MatrixView& matrix, DType stored, std::size_t first_row);

// Refuses CSR offsets that are not n_lists + 1, do not begin at 0, fall, or do not end at n.
Status check_indptr(const char* name, std::span<const std::int64_t> indptr, std::size_t n_lists, std::size_t n);

}  // namespace karec
