// Keys of 64 bits, ordered_score(score) << 32 | anything, by descending score.
//
// Algorithm: a stable radix sort (Knuth, TAOCP 3, 5.2.5) of each score's distance from the largest one, in digits of 9
// bits from the lowest on: scores that lie close together need few passes. Cost: O(n) a pass, at most 4.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/scratch.hpp"

namespace karec {

// Sorts the first n of `keys`; equal scores stay in their order. `spare` has room for as many; the two may be swapped.
inline void sort_by_score(ScratchArray<std::uint64_t>& keys, ScratchArray<std::uint64_t>& spare, std::size_t n) {
    constexpr std::size_t kBits = 9;
    constexpr std::size_t kValues = std::size_t{1} << kBits;
    constexpr std::size_t kDigits = (32 + kBits - 1) / kBits;
    if (n < 2) return;
    std::uint64_t least = keys[0];
    std::uint64_t largest = keys[0];
    for (std::size_t i = 1; i < n; ++i) {
        least = std::min(least, keys[i]);
        largest = std::max(largest, keys[i]);
    }
    const auto top = static_cast<std::uint32_t>(largest >> 32);
    const std::size_t digits = (std::bit_width(top - static_cast<std::uint32_t>(least >> 32)) + kBits - 1) / kBits;
    const auto digit_of = [top](std::uint64_t key, std::size_t digit) {
        return (top - static_cast<std::uint32_t>(key >> 32)) >> kBits * digit & (kValues - 1);
    };
    std::array<std::array<std::uint32_t, kValues>, kDigits> ends;
    for (std::size_t digit = 0; digit < digits; ++digit) ends[digit].fill(0);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t digit = 0; digit < digits; ++digit) ++ends[digit][digit_of(keys[i], digit)];
    }
    for (std::size_t digit = 0; digit < digits; ++digit) {
        auto& end = ends[digit];
        std::uint32_t sum = 0;
        for (std::uint32_t& each : end) sum += std::exchange(each, sum);
        for (std::size_t i = 0; i < n; ++i) spare[end[digit_of(keys[i], digit)]++] = keys[i];
        std::swap(keys, spare);
    }
}

}  // namespace karec
