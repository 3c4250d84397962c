// TopK collects the k best of a stream of scores; equal scores are ordered by position, lowest first.
//
// Algorithm: a score and its position make one 64-bit key, ordered_score(score) << 32 | position. Keys above the
// threshold, the k-th best score so far, are appended to a buffer. A full buffer is cut to about k: bisection finds a
// score that at least k of its keys reach, and at most an eighth more unless they are equal. That score is the next
// threshold. finish() sorts the remaining keys.
// Cost: O(n + k) for n offers, for any scores in any order.
//
// Invariants:
//   - Positions are offered in rising order: the buffer is in order of position, and the stable sort preserves it for
//     equal scores.
//   - threshold_ never falls. k keys of the buffer reach it; it is 0 before the first cut. A later offer of the same
//     score has a higher position and loses the tie, so only larger scores are appended.
//   - size_ ≤ capacity_ between two blocks of offers; the buffer has kSlack places more.
// Threads: one at a time.
// Source: the sort is a radix sort (D. E. Knuth, TAOCP 3, 5.2.5).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "base/scratch.hpp"
#include "kernels/kernels.hpp"

namespace karec {

// Returns the largest ordered score in [low, high] that at least k scores reach, or a smaller one that at most `max_n`
// reach. At least k scores reach `low`. count_from(x) counts the scores that reach x; choose(low, high) returns the
// next x to try, in (low, high]. Cost: 32 counts at most if `choose` halves the range.
template <class CountFrom, class Choose>
std::uint32_t find_kth_score(std::uint32_t low, std::uint32_t high, std::size_t k, std::size_t max_n,
                             CountFrom&& count_from, Choose&& choose) {
    while (low < high) {
        const std::uint32_t middle = choose(low, high);
        const std::size_t n = count_from(middle);
        if (n < k) {
            high = middle - 1;
            continue;
        }
        low = middle;
        if (n <= max_n) break;
    }
    return low;
}

inline std::uint32_t halve_range(std::uint32_t low, std::uint32_t high) noexcept {
    return high - (high - low) / 2;
}

// Sorts the first n keys, ordered_score(score) << 32 | anything, by descending score; equal scores stay in their order.
// `spare` has room for n keys; the two arrays may be swapped. Digits of 9 bits of the distance from the largest score:
// scores that are close together need few passes. Cost: O(n) a pass, at most 4 passes.
inline void sort_by_score(ScratchArray<std::uint64_t>& keys, ScratchArray<std::uint64_t>& spare, std::size_t n) {
    constexpr std::size_t kBits = 9;
    constexpr std::size_t kValues = std::size_t{1} << kBits;
    constexpr std::size_t kMaxDigits = (32 + kBits - 1) / kBits;
    if (n < 2) return;
    std::uint64_t smallest = keys[0];
    std::uint64_t largest = keys[0];
    for (std::size_t i = 1; i < n; ++i) {
        smallest = std::min(smallest, keys[i]);
        largest = std::max(largest, keys[i]);
    }
    const auto top = static_cast<std::uint32_t>(largest >> 32);
    const std::size_t n_digits = (std::bit_width(top - static_cast<std::uint32_t>(smallest >> 32)) + kBits - 1) / kBits;
    const auto digit_of = [top](std::uint64_t key, std::size_t digit) {
        return (top - static_cast<std::uint32_t>(key >> 32)) >> kBits * digit & (kValues - 1);
    };
    std::array<std::array<std::uint32_t, kValues>, kMaxDigits> ends;
    for (std::size_t digit = 0; digit < n_digits; ++digit) ends[digit].fill(0);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t digit = 0; digit < n_digits; ++digit) ++ends[digit][digit_of(keys[i], digit)];
    }
    for (std::size_t digit = 0; digit < n_digits; ++digit) {
        auto& end = ends[digit];
        std::uint32_t sum = 0;
        for (std::uint32_t& count : end) sum += std::exchange(count, sum);
        for (std::size_t i = 0; i < n; ++i) spare[end[digit_of(keys[i], digit)]++] = keys[i];
        std::swap(keys, spare);
    }
}

class TopK {
  public:
    // For at most n offers.
    TopK(std::size_t k, std::size_t n) : k_(k), capacity_(buffer_size(k, n)), keys_(capacity_ + kSlack) {}

    // The number of keys above which the buffer is cut.
    static std::size_t buffer_size(std::size_t k, std::size_t n) noexcept {
        return std::min(std::max<std::size_t>(4 * k, 256), n);
    }

    // Offers scores[i] at position first + i, except where rows[i] < 0 (`rows` may be null). Positions only rise. NaN
    // counts as −inf; −0 as +0.
    void offer(const float* scores, const std::int32_t* rows, std::size_t n, std::uint32_t first) {
        if (k_ == 0) return;
        for (std::size_t i = 0; i < n; i += kBlock) {
            const std::size_t n_block = std::min(kBlock, n - i);
            size_ += kernels_->select_scores(scores + i, rows == nullptr ? nullptr : rows + i, n_block,
                                             first + static_cast<std::uint32_t>(i), threshold_, &keys_[size_]);
            if (size_ > capacity_) cut();
        }
    }

    void offer(float score, std::uint32_t position) { offer(&score, nullptr, 1, position); }

    // Raises threshold() to about the k-th best of all offers so far.
    void tighten() {
        if (size_ > k_) cut();
    }

    // A later score must be above it to be among the best; −inf before k offers.
    float threshold() const noexcept {
        return threshold_ == 0 ? -std::numeric_limits<float>::infinity() : score_from_ordered(threshold_);
    }

    // Calls emit(rank, score, position) for the best min(k, offered), best first, and returns how many they are. The
    // last call of an object.
    template <class Emit>
    std::size_t finish(Emit&& emit) {
        tighten();
        ScratchArray<std::uint64_t> spare(size_);
        sort_by_score(keys_, spare, size_);
        size_ = std::min(size_, k_);
        for (std::size_t rank = 0; rank < size_; ++rank) {
            emit(rank, score_from_ordered(static_cast<std::uint32_t>(keys_[rank] >> 32)),
                 static_cast<std::uint32_t>(keys_[rank]));
        }
        return size_;
    }

  private:
    static constexpr std::size_t kBlock = 64;                          // offers between two checks of the buffer's size
    static constexpr std::size_t kSlack = kBlock + kSelectionPadding;  // places beyond capacity_

    static std::uint64_t key_from(std::uint32_t ordered) noexcept { return std::uint64_t{ordered} << 32; }

    std::size_t count_from(std::uint32_t ordered) const noexcept {
        return kernels_->count_keys(&keys_[0], size_, key_from(ordered));
    }

    // Cuts a buffer of more than k keys and raises the threshold.
    void cut() {
        const std::size_t max_size = k_ + k_ / 8;
        threshold_ = find_kth_score(
            threshold_, std::numeric_limits<std::uint32_t>::max(), k_, max_size,
            [this](std::uint32_t ordered) { return count_from(ordered); }, halve_range);
        size_ = kernels_->select_keys(&keys_[0], size_, key_from(threshold_));
        if (size_ <= max_size) return;
        // Too many equal scores: those with the lowest positions are among the k best.
        std::size_t n_left = k_ - count_from(threshold_ + 1);
        std::size_t size = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            const std::uint64_t key = keys_[i];
            const bool is_equal = key >> 32 == threshold_;
            keys_[size] = key;
            size += !is_equal | (n_left > 0);
            n_left -= is_equal & (n_left > 0);
        }
        size_ = size;
    }

    std::size_t k_;
    std::size_t capacity_;
    std::size_t size_ = 0;
    std::uint32_t threshold_ = 0;
    const Kernels* kernels_ = &kernels();
    ScratchArray<std::uint64_t> keys_;
};

}  // namespace karec
