// Checks of paths and arrays that callers give, each with one wording.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "karec/array.hpp"
#include "karec/status.hpp"

namespace karec {

// Refuses a path with a NUL byte, which the operating system would cut there.
Status check_path(const std::string& path);

// Refuses two arrays of different lengths: "<first> has n entries, <second> has m".
Status check_lengths(const char* first, std::size_t n_first, const char* second, std::size_t n_second);

// Refuses a matrix of another dtype than float16 and float32.
Status check_float(const MatrixView& matrix, const char* name);

// Refuses the first NaN or infinity: "<name> holds NaN at (row, column)", or "at position i". O(elements).
Status check_finite(MatrixView matrix, const char* name);
Status check_finite(std::span<const float> values, const char* name);

// Refuses the first value of a float32 matrix that rows of dtype `stored` = float16 cannot hold. O(elements).
Status check_range(const MatrixView& matrix, DType stored);

}  // namespace karec
