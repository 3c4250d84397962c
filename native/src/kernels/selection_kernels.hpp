// The kernels of the top-k: which of many scores are above a threshold, and how many.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace karec {

// Larger for larger scores, never 0. NaN counts as −inf; −0 as +0.
inline std::uint32_t ordered_score(float score) noexcept {
    score = score == score ? score + 0.0f : -std::numeric_limits<float>::infinity();
    const auto bits = std::bit_cast<std::uint32_t>(score);
    const std::uint32_t negative = 0u - (bits >> 31);  // without a branch: signs are as good as random
    return bits ^ (negative | 0x80000000u);
}

inline float score_of_ordered(std::uint32_t ordered) noexcept {
    return std::bit_cast<float>(ordered & 0x80000000u ? ordered & 0x7FFFFFFFu : ~ordered);
}

inline constexpr std::size_t kSelectedAtOnce = 16;

struct SelectionKernels {
    // Appends ordered_score(scores[i]) << 32 | first + i to `keys` for each i in order whose ordered score is above
    // `threshold` and, unless `rows` is null, whose rows[i] ≥ 0; returns how many. `keys` has room for n and
    // kSelectedAtOnce more, of which any may be written.
    std::size_t (*keep_above)(const float* scores, const std::int32_t* rows, std::size_t n, std::uint32_t first,
                              std::uint32_t threshold, std::uint64_t* keys);

    // How many of n keys are at least `least`.
    std::size_t (*count_from)(const std::uint64_t* keys, std::size_t n, std::uint64_t least);

    // Moves those keys to the front, in order; returns how many.
    std::size_t (*keep_from)(std::uint64_t* keys, std::size_t n, std::uint64_t least);

    // How many of n < 2^31 scores are ≥ least; NaN is not.
    std::size_t (*reaching)(const float* scores, std::size_t n, float least);

    // The least and the largest score that is not NaN; +inf and −inf where there is none.
    void (*extremes)(const float* scores, std::size_t n, float* least, float* largest);
};

}  // namespace karec
