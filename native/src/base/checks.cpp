#include "base/checks.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

#include "base/half.hpp"

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

// Returns the index of the first non-finite element, or n.
template <class T>
std::size_t find_not_finite(const T* values, std::size_t n) noexcept {
    constexpr std::size_t kBlock = 256;
    for (std::size_t start = 0; start < n; start += kBlock) {
        const std::size_t end = n - start < kBlock ? n : start + kBlock;
        unsigned are_finite = 1;
        for (std::size_t i = start; i < end; ++i) are_finite &= static_cast<unsigned>(is_finite(values[i]));
        if (are_finite) continue;
        for (std::size_t i = start; i < end; ++i) {
            if (!is_finite(values[i])) return i;
        }
    }
    return n;
}

std::string position_of(std::size_t index, std::size_t cols) {
    return "(" + std::to_string(index / cols) + ", " + std::to_string(index % cols) + ")";
}

template <class T>
Status check_matrix(const T* values, const MatrixView& matrix, const char* name, std::size_t first_row) {
    const std::size_t n = matrix.rows * matrix.cols;
    const std::size_t index = find_not_finite(values, n);
    if (index == n) return {};
    const char* value = is_nan(values[index]) ? "NaN" : "infinity";
    return Status::invalid(std::string(name) + " holds " + value + " at " +
                           position_of(first_row * matrix.cols + index, matrix.cols));
}

}  // namespace

Status check_path(const std::string& path) {
    return path.find('\0') == std::string::npos ? Status{} : Status::invalid("the path holds a NUL byte");
}

Status check_lengths(const char* first, std::size_t n_first, const char* second, std::size_t n_second) {
    if (n_first == n_second) return {};
    return Status::invalid(std::string(first) + " has " + std::to_string(n_first) + " entries, " + second + " has " +
                           std::to_string(n_second));
}

Status check_range(const MatrixView& matrix, DType stored, std::size_t first_row) {
    if (stored != DType::float16 || matrix.dtype != DType::float32) return {};
    const auto* values = static_cast<const float*>(matrix.data);
    const std::size_t n = matrix.rows * matrix.cols;
    const auto* bad = std::find_if(values, values + n, [](float x) { return std::abs(x) >= 65520.0f; });
    if (bad == values + n) return {};
    return Status::invalid("embeddings has a value at " +
                           position_of(first_row * matrix.cols + static_cast<std::size_t>(bad - values), matrix.cols) +
                           " that float16 cannot store (|x| ≥ 65520); build with dtype float32");
}

Status check_float(const MatrixView& matrix, const char* name) {
    if (matrix.dtype == DType::float16 || matrix.dtype == DType::float32) return {};
    return Status::invalid(std::string(name) + " must be float16 or float32");
}

Status check_finite(MatrixView matrix, const char* name, std::size_t first_row) {
    if (Status status = check_float(matrix, name); !status.ok()) return status;
    if (matrix.dtype == DType::float16)
        return check_matrix(static_cast<const std::uint16_t*>(matrix.data), matrix, name, first_row);
    return check_matrix(static_cast<const float*>(matrix.data), matrix, name, first_row);
}

Status check_finite(std::span<const float> values, const char* name) {
    const std::size_t index = find_not_finite(values.data(), values.size());
    if (index == values.size()) return {};
    return Status::invalid(std::string(name) + " holds " + (is_nan(values[index]) ? "NaN" : "infinity") +
                           " at position " + std::to_string(index));
}

Status check_indptr(const char* name, std::span<const std::int64_t> indptr, std::size_t n_lists, std::size_t n) {
    if (indptr.size() != n_lists + 1) {
        return Status::invalid(std::string(name) + " has shape (" + std::to_string(indptr.size()) + ",), expected (" +
                               std::to_string(n_lists + 1) + ",)");
    }
    for (std::size_t u = 0; u <= n_lists; ++u) {
        if (u == 0 ? indptr[u] == 0 : indptr[u] >= indptr[u - 1]) continue;
        return Status::invalid(std::string(name) + " holds " + std::to_string(indptr[u]) + " at position " +
                               std::to_string(u) + ", expected it to start at 0 and never to fall");
    }
    if (indptr.back() == static_cast<std::int64_t>(n)) return {};
    return Status::invalid(std::string(name) + " ends at " + std::to_string(indptr.back()) + ", expected " +
                           std::to_string(n));
}

}  // namespace karec
