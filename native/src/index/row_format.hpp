// RowFormat stores vectors as rows of float16, float32 or int8, each padded with zeros to a multiple of 64 bytes.
//
// An int8 row has integers; a value is integer·scale, scale = max|x| / 127. A query is rounded to integers too, of at
// most `limit` = min(32767, (2^31 − 1) / (128·D)), so that no sum of products overflows 32 bits: sums are exact in any
// order. The score is float(sum)·query_scale·row_scale, multiplied in this order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/scratch.hpp"
#include "karec/array.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::size_t kMaxDim = 65536;

// A query for the kernels: padded with zeros to the padded length of rows.
struct PaddedQuery {
    ScratchVector<float> values;
    ScratchVector<std::int16_t> integers;  // for int8 rows
    float scale = 0.0f;
};

struct RowFormat {
    std::size_t dim = 0;
    DType dtype = DType::float16;

    std::size_t stride() const noexcept { return (dim * size_of(dtype) + 63) / 64 * 64; }

    // The length that kernels read: D rounded up to a multiple of 16, for int8 of 64.
    std::size_t padded_dim() const noexcept {
        return dtype == DType::int8 ? (dim + 63) / 64 * 64 : (dim + 15) / 16 * 16;
    }

    // Reads `query` once.
    PaddedQuery pad(std::span<const float> query) const;

    // out[i] = ⟨query, rows[i]⟩ as ScoringKernels defines it; for int8 without the row's scale. next[i] is prefetched
    // while row i is read; `next` may be null.
    void dot(const PaddedQuery& query, const std::byte* const* rows, const std::byte* const* next, std::size_t n,
             float* out) const noexcept;

    // out (dim) = row as float32.
    void decode(const std::byte* row, float scale, float* out) const noexcept;

    // Writes `row` and, for int8, `scale`. `vector`: a matrix of one row, finite and in range (check_range).
    void encode(const MatrixView& vector, std::byte* row, float* scale) const noexcept;
};

}  // namespace karec
