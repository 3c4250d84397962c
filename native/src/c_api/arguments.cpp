#include "c_api/arguments.hpp"

namespace karec::c {

DType to_dtype(karec_dtype dtype, const char* name) {
    const auto known = static_cast<DType>(dtype);
    if (size_of(known) == 0) refuse(std::string(name) + " is " + std::to_string(dtype) + ", which is not a dtype");
    return known;
}

MatrixView to_matrix(const karec_matrix* given, const char* name) {
    const karec_matrix matrix = read_struct(given, name);
    const DType dtype = to_dtype(matrix.dtype, name);
    if (dtype != DType::float16 && dtype != DType::float32) refuse(std::string(name) + " is not float16 or float32");
    std::size_t row_bytes = 0;
    std::size_t total = 0;
    const bool fits = !__builtin_mul_overflow(matrix.cols, size_of(dtype), &row_bytes) &&
                      !__builtin_mul_overflow(matrix.rows, row_bytes, &total) && total <= kMaxBytes;
    if (!fits) refuse(std::string(name) + " has more elements than memory has");
    if (total > 0) {
        require(static_cast<const std::byte*>(matrix.data), name);
        if (reinterpret_cast<std::uintptr_t>(matrix.data) % size_of(dtype) != 0) {
            refuse(std::string(name) + " is not aligned");
        }
    }
    return {matrix.data, matrix.rows, matrix.cols, dtype};
}

}  // namespace karec::c
