#include "c_api/arguments.hpp"

namespace karec::c {

DType to_dtype(karec_dtype dtype, const char* name) {
    const auto known = static_cast<DType>(dtype);
    if (size_of(known) == 0) refuse(std::string(name) + " is " + std::to_string(dtype) + ", which names no dtype");
    return known;
}

Matrix::Matrix(const karec_matrix* given, const char* name) {
    const karec_matrix matrix = read_struct(given, name);
    const DType dtype = to_dtype(matrix.dtype, name);
    if (dtype != DType::float16 && dtype != DType::float32) {
        refuse(std::string(name) + " is given as float16 or float32");
    }
    std::size_t row_bytes = 0;
    std::size_t total = 0;
    bool fits = !__builtin_mul_overflow(matrix.cols, size_of(dtype), &row_bytes);
    const std::size_t stride = matrix.row_stride == 0 ? row_bytes : matrix.row_stride;
    fits = fits && !__builtin_mul_overflow(matrix.rows, stride, &total) && total <= kMaxBytes;
    if (!fits) refuse(std::string(name) + " has more elements than memory has");
    if (stride < row_bytes) refuse(std::string(name) + "->row_stride is shorter than a row");
    view = {matrix.data, matrix.rows, matrix.cols, dtype};
    if (matrix.rows == 0 || matrix.cols == 0) return;
    require(static_cast<const std::byte*>(matrix.data), name);
    const bool aligned = (reinterpret_cast<std::uintptr_t>(matrix.data) | stride) % size_of(dtype) == 0;
    if (stride == row_bytes && aligned) return;
    copied_.resize(matrix.rows * row_bytes);
    for (std::size_t row = 0; row < matrix.rows; ++row) {
        std::memcpy(copied_.data() + row * row_bytes, static_cast<const std::byte*>(matrix.data) + row * stride,
                    row_bytes);
    }
    view.data = copied_.data();
}

}  // namespace karec::c
