// The kernels of scoring: inner products of one query with many rows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace karec {

// Items of one packed block: block[d·kBlockItems + i] is dimension d of item i.
inline constexpr std::size_t kBlockItems = 64;

struct ScoringKernels {
    // out[i] = ⟨query, rows[i]⟩ of float16 (float32) rows. `dim` is a multiple of 16; query and rows are padded with
    // zeros up to it. `next` is null, or next[i] is prefetched into the second-level cache while row i is read.
    void (*dot_float16)(const std::byte* const* rows, const std::byte* const* next, std::size_t n, const float* query,
                        std::size_t dim, float* out);
    void (*dot_float32)(const std::byte* const* rows, const std::byte* const* next, std::size_t n, const float* query,
                        std::size_t dim, float* out);

    // The same in integers; `dim` is a multiple of 64. The caller bounds the query so that no sum overflows 32 bits.
    void (*dot_int8)(const std::byte* const* rows, const std::byte* const* next, std::size_t n,
                     const std::int16_t* query, std::size_t dim, std::int32_t* out);

    // to[i] = from[i] as float32. No element is infinite or NaN.
    void (*widen)(const std::uint16_t* from, std::size_t n, float* to);

    // out[i] = ⟨query, item i⟩ of a packed block, `dim` a multiple of 16: the same bits as dot_float32 on its rows.
    void (*dot_packed)(const float* block, std::size_t dim, const float* query, float* out);

    // dots[i] += Σ_d direction[d]·block[d·kBlockItems + i], d in order, for each of the kBlockItems items.
    void (*gemv_packed)(const float* block, std::size_t dim, const float* direction, float* dots);
};

}  // namespace karec
