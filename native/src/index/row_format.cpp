#include "index/row_format.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.hpp"
#include "kernels/kernels.hpp"

namespace karec {
namespace {

constexpr std::size_t kInt8Limit = 127;

// value / scale to the nearest integer, ties to even, within ±limit; 0 for scale 0, −limit for NaN.
float rounded(float value, float scale, float limit) noexcept {
    if (scale == 0.0f) return 0.0f;
    constexpr float kShift = 0x1.8p23f;  // adding and subtracting it rounds to an integer
    const float quotient = value / scale;
    const float bounded = quotient > -limit ? quotient : -limit;  // −limit for NaN too
    return std::min(bounded, limit) + kShift - kShift;
}

}  // namespace

PaddedQuery RowFormat::pad(std::span<const float> query) const {
    PaddedQuery padded;
    padded.values.assign(padded_dim(), 0.0f);
    std::copy(query.begin(), query.end(), padded.values.begin());
    if (dtype != DType::int8) return padded;
    const auto limit = static_cast<float>(
        std::min<std::size_t>(32767, std::numeric_limits<std::int32_t>::max() / ((kInt8Limit + 1) * padded_dim())));
    float largest = 0.0f;
    for (const float x : padded.values) largest = std::max(largest, std::abs(x));
    padded.scale = largest / limit;
    padded.integers.assign(padded_dim(), 0);
    for (std::size_t d = 0; d < query.size(); ++d) {
        padded.integers[d] = static_cast<std::int16_t>(rounded(padded.values[d], padded.scale, limit));
    }
    return padded;
}

void RowFormat::dot(const PaddedQuery& query, const std::byte* const* rows, const std::byte* const* next, std::size_t n,
                    float* out) const noexcept {
    const Kernels& loops = kernels();
    if (dtype == DType::int8) {
        constexpr std::size_t kBlock = 256;
        std::int32_t sums[kBlock];
        for (std::size_t first = 0; first < n; first += kBlock) {
            const std::size_t n_rows = std::min(kBlock, n - first);
            loops.dot_int8(rows + first, next == nullptr ? nullptr : next + first, n_rows, query.integers.data(),
                           padded_dim(), sums);
            for (std::size_t i = 0; i < n_rows; ++i) out[first + i] = static_cast<float>(sums[i]) * query.scale;
        }
        return;
    }
    const auto kernel = dtype == DType::float16 ? loops.dot_float16 : loops.dot_float32;
    kernel(rows, next, n, query.values.data(), padded_dim(), out);
}

void RowFormat::decode(const std::byte* row, float scale, float* out) const noexcept {
    if (dtype == DType::float32) {
        std::memcpy(out, row, dim * sizeof(float));
    } else if (dtype == DType::float16) {
        kernels().widen(reinterpret_cast<const std::uint16_t*>(row), dim, out);
    } else {
        const auto* integers = reinterpret_cast<const std::int8_t*>(row);
        for (std::size_t d = 0; d < dim; ++d) out[d] = static_cast<float>(integers[d]) * scale;
    }
}

void RowFormat::encode(const MatrixView& vector, std::byte* row, float* scale) const noexcept {
    std::memset(row, 0, stride());
    if (vector.dtype == dtype) {
        std::memcpy(row, vector.data, dim * size_of(dtype));
        return;
    }
    const auto value = [&](std::size_t d) {
        if (vector.dtype == DType::float32) return static_cast<const float*>(vector.data)[d];
        return half_to_float(static_cast<const std::uint16_t*>(vector.data)[d]);
    };
    if (dtype == DType::float32) {
        for (std::size_t d = 0; d < dim; ++d) reinterpret_cast<float*>(row)[d] = value(d);
        return;
    }
    if (dtype == DType::float16) {
        auto* to = reinterpret_cast<std::uint16_t*>(row);
        for (std::size_t d = 0; d < dim; ++d) to[d] = float_to_half(value(d));
        return;
    }
    float largest = 0.0f;
    for (std::size_t d = 0; d < dim; ++d) largest = std::max(largest, std::abs(value(d)));
    *scale = largest / static_cast<float>(kInt8Limit);
    auto* to = reinterpret_cast<std::int8_t*>(row);
    for (std::size_t d = 0; d < dim; ++d) {
        to[d] = static_cast<std::int8_t>(rounded(value(d), *scale, static_cast<float>(kInt8Limit)));
    }
}

}  // namespace karec
