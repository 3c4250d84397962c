// The C interface: errors, versions, matrices. c_api_index.cpp, c_api_diversity.cpp and c_api_prerank.cpp hold the
// rest.
#include "c_api.hpp"

#include <cstdio>

#include "karec/user_tower.hpp"

namespace karec::c {
namespace {

// Fixed room, so that running out of memory can be told as well.
thread_local char last_error[1024] = "";
thread_local std::int32_t last_system_error = 0;

static_assert(static_cast<int>(Code::ok) == KAREC_OK);
static_assert(static_cast<int>(Code::invalid_argument) == KAREC_INVALID_ARGUMENT);
static_assert(static_cast<int>(Code::bad_format) == KAREC_BAD_FORMAT);
static_assert(static_cast<int>(Code::io_error) == KAREC_IO_ERROR);
static_assert(static_cast<int>(Code::out_of_memory) == KAREC_OUT_OF_MEMORY);
static_assert(static_cast<int>(Code::unavailable) == KAREC_UNAVAILABLE);
static_assert(static_cast<int>(DType::int8) == KAREC_INT8 && static_cast<int>(DType::boolean) == KAREC_BOOL);

}  // namespace

karec_status keep(const Status& status) noexcept {
    const char* message = status.code() == Code::out_of_memory ? "out of memory" : status.message().c_str();
    std::snprintf(last_error, sizeof last_error, "%s", message);
    last_system_error = status.system_error();
    return static_cast<karec_status>(status.code());
}

DType dtype_of(karec_dtype dtype, const char* name) {
    const auto known = static_cast<DType>(dtype);
    if (size_of(known) == 0) refuse(std::string(name) + " is " + std::to_string(dtype) + ", which names no dtype");
    return known;
}

Matrix::Matrix(const karec_matrix* given, const char* name) {
    const karec_matrix matrix = taken(given, name);
    const DType dtype = dtype_of(matrix.dtype, name);
    if (dtype != DType::float16 && dtype != DType::float32) {
        refuse(std::string(name) + " is given as float16 or float32");
    }
    std::size_t row_bytes = 0;
    std::size_t total = 0;
    bool fits = !__builtin_mul_overflow(matrix.cols, size_of(dtype), &row_bytes);
    const std::size_t stride = matrix.row_stride == 0 ? row_bytes : matrix.row_stride;
    fits = fits && !__builtin_mul_overflow(matrix.rows, stride, &total) && total <= kMostBytes;
    if (!fits) refuse(std::string(name) + " has more elements than memory has");
    if (stride < row_bytes) refuse(std::string(name) + "->row_stride is shorter than a row");
    view = {matrix.data, matrix.rows, matrix.cols, dtype};
    if (matrix.rows == 0 || matrix.cols == 0) return;
    object(static_cast<const std::byte*>(matrix.data), name);
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

uint32_t karec_abi_version(void) {
    return KAREC_ABI_VERSION;
}
const char* karec_version(void) {
    return KAREC_VERSION;
}
const char* karec_isa(void) {
    return karec::active_isa().data();  // of a string literal
}
int32_t karec_has_user_tower(void) {
    return karec::has_user_tower() ? 1 : 0;
}
const char* karec_last_error(void) {
    return karec::c::last_error;
}
int32_t karec_last_system_error(void) {
    return karec::c::last_system_error;
}
