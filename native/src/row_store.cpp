#include "row_store.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "dispatch.hpp"
#include "half.hpp"

namespace karec {
namespace {

bool is_finite(std::uint16_t half) noexcept {
    return (half & kHalfExponent) != kHalfExponent;
}
bool is_finite(float value) noexcept {
    return (std::bit_cast<std::uint32_t>(value) & 0x7F800000u) != 0x7F800000u;
}

bool is_nan(std::uint16_t half) noexcept {
    return (half & 0x7FFFu) > kHalfExponent;
}
bool is_nan(float value) noexcept {
    return value != value;
}

// The first non-finite element, or n.
template <class T>
std::size_t first_bad(const T* values, std::size_t n) noexcept {
    constexpr std::size_t kBlock = 256;
    for (std::size_t start = 0; start < n; start += kBlock) {
        const std::size_t end = n - start < kBlock ? n : start + kBlock;
        unsigned good = 1;
        for (std::size_t i = start; i < end; ++i) good &= static_cast<unsigned>(is_finite(values[i]));
        if (good) continue;
        for (std::size_t i = start; i < end; ++i) {
            if (!is_finite(values[i])) return i;
        }
    }
    return n;
}

std::string place(std::size_t at, std::size_t cols) {
    return "(" + std::to_string(at / cols) + ", " + std::to_string(at % cols) + ")";
}

template <class T>
Status check_matrix(const T* values, const MatrixView& matrix, const char* name) {
    const std::size_t n = matrix.rows * matrix.cols;
    const std::size_t at = first_bad(values, n);
    if (at == n) return {};
    const char* what = is_nan(values[at]) ? "NaN" : "infinity";
    return Status::invalid(std::string(name) + " holds " + what + " at " + place(at, matrix.cols));
}

}  // namespace

void RowStore::dot(const float* query, const std::int32_t* rows, std::size_t n_rows, float* out) const noexcept {
    const auto kernel = dtype == DType::float16 ? inner_loops().dot_float16 : inner_loops().dot_float32;
    kernel(base, stride(), rows, n_rows, query, padded_dim(), out);
}

void RowStore::dot_range(const float* query, std::size_t first, std::size_t n_rows, float* out) const noexcept {
    const auto kernel = dtype == DType::float16 ? inner_loops().dot_float16 : inner_loops().dot_float32;
    kernel(base + first * stride(), stride(), nullptr, n_rows, query, padded_dim(), out);
}

void RowStore::decode(std::size_t row, float* out) const noexcept {
    const std::byte* at = base + row * stride();
    if (dtype == DType::float32) {
        std::memcpy(out, at, dim * sizeof(float));
        return;
    }
    inner_loops().widen(reinterpret_cast<const std::uint16_t*>(at), dim, out);
}

Status encode_rows(MatrixView matrix, const RowStore& store, std::byte* rows) {
    if (Status status = check_finite(matrix, "embeddings"); !status.ok()) return status;
    const std::size_t dim = store.dim;
    for (std::size_t i = 0; i < store.n; ++i) {
        std::byte* row = rows + i * store.stride();
        if (matrix.dtype == store.dtype) {
            const std::size_t bytes = dim * size_of(store.dtype);
            std::memcpy(row, static_cast<const std::byte*>(matrix.data) + i * bytes, bytes);
        } else if (store.dtype == DType::float32) {
            const auto* from = static_cast<const std::uint16_t*>(matrix.data) + i * dim;
            auto* to = reinterpret_cast<float*>(row);
            for (std::size_t d = 0; d < dim; ++d) to[d] = half_to_float(from[d]);
        } else {
            const auto* from = static_cast<const float*>(matrix.data) + i * dim;
            auto* to = reinterpret_cast<std::uint16_t*>(row);
            for (std::size_t d = 0; d < dim; ++d) to[d] = float_to_half(from[d]);
            if (const std::size_t at = first_bad(to, dim); at < dim) {
                return Status::invalid("embeddings hold a value at " + place(i * dim + at, dim) +
                                       " that float16 cannot (|x| ≥ 65520); build with dtype float32");
            }
        }
    }
    return {};
}

Status check_finite(MatrixView matrix, const char* name) {
    if (matrix.dtype == DType::float16)
        return check_matrix(static_cast<const std::uint16_t*>(matrix.data), matrix, name);
    return check_matrix(static_cast<const float*>(matrix.data), matrix, name);
}

Status check_finite(std::span<const float> values, const char* name) {
    const std::size_t at = first_bad(values.data(), values.size());
    if (at == values.size()) return {};
    return Status::invalid(std::string(name) + " holds " + (is_nan(values[at]) ? "NaN" : "infinity") + " at position " +
                           std::to_string(at));
}

}  // namespace karec
