// The kernels that say which rows of a block may score above a cut: approximate inner products of 64 rows with many
// queries, compared where they are made. Their error is bounded in search/score_bound.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace karec {

inline constexpr std::size_t kColumns = 32;  // queries of one panel

struct ReachInput {
    const void* block;
    const void* panel;
    std::size_t n;  // of the panel's columns, the first ones
    std::size_t dim;
    const float* scales;  // of the 64 rows; null: products alone
    const float* offsets;
    const float* cuts;             // of the kColumns columns
    const std::byte* const* next;  // null, or the 64 rows of the next block
    void* next_block;
    std::size_t row_bytes;  // of each
};

struct BoundKernels {
    // A block holds 64 rows, a panel kColumns queries, both with elements of `element` bytes and zeros behind `dim`, up
    // to a multiple of `step`. Elements are float32, or rounded to a type of unit roundoff `rounding`.
    std::size_t element;
    std::size_t step;
    double rounding;

    // Whether reach() packs the next block meanwhile, and prefetches what lies 64 rows behind; else it prefetches the
    // next block's rows. Two blocks of float32 would leave no room in the first-level cache.
    bool packs_next;

    // Fill a block with rows of float16 (float32), `dim` a multiple of 16, and return the largest ‖row‖² of the 64,
    // each a sum of rounded squares in float32.
    float (*pack_float16)(const std::byte* const* rows, std::size_t dim, void* block);
    float (*pack_float32)(const std::byte* const* rows, std::size_t dim, void* block);

    // Writes `query` into column `at` of a panel that was all zeros.
    void (*put_column)(const float* query, std::size_t dim, std::size_t at, void* panel);

    // values[i·kColumns + c] = ⟨query c, row i⟩·scales[i] + offsets[i]. Bit c of masks[i]: not (value < cuts[c]); so it
    // is set for NaN. Of columns from n on anything. Bit i of the result: masks[i] ≠ 0. Where it packs the
    // next block, *next_square is what packing returns. reach_float16 (reach_float32) packs rows of that type.
    std::uint64_t (*reach_float16)(const ReachInput& in, float* values, std::uint32_t* masks, float* next_square);
    std::uint64_t (*reach_float32)(const ReachInput& in, float* values, std::uint32_t* masks, float* next_square);

    // Called by a thread before its first and after its last reach(); null where there is nothing to do.
    void (*begin)();
    void (*end)();
};

}  // namespace karec
