// The k best of a stream of scores, ties by lowest position.
//
// A score and its position make one 64-bit key, ordered(score) << 32 | position. Keys above the threshold, the k-th
// best score so far, are appended to a buffer, 16 scores at a time where there is AVX-512.
// A full buffer is cut near k, in the order in which keys came: bisection, a count of the buffer a step, finds a score
// that at least k of the keys reach, and at most an eighth more if they are not equal; it is the next threshold. What
// is left at the end is sorted (search/key_sort.hpp). Cost: O(n + k), whatever the scores and their order.
//
// Invariants:
//   - Positions are offered in rising order, so that the buffer is in order of position, and the sort keeps it in ties.
//   - threshold_ never falls: k keys of the buffer have its ordered score or a larger one; it is 0 before there were k.
//     A later offer of the same score has a higher position and loses the tie, so only larger scores are appended.
//   - size_ ≤ capacity_ between offers of kFew; the buffer has kRoom places more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "base/scratch.hpp"
#include "kernels/kernels.hpp"
#include "search/key_sort.hpp"

namespace karec {

class TopK {
  public:
    // Of at most n offers.
    TopK(std::size_t k, std::size_t n) : k_(k), capacity_(n_kept(k, n)) {
        keys_ = ScratchArray<std::uint64_t>(capacity_ + kRoom);
    }

    // With how many more than these the buffer is first cut.
    static std::size_t n_kept(std::size_t k, std::size_t n) noexcept {
        return std::min(std::max<std::size_t>(4 * k, 256), n);
    }

    // Offers scores[i] at position first + i, but where rows[i] < 0 (`rows` may be null). Positions only rise. NaN
    // counts as −inf; −0 as +0.
    void offer(const float* scores, const std::int32_t* rows, std::size_t n, std::uint32_t first) {
        if (k_ == 0) return;
        for (std::size_t i = 0; i < n; i += kFew) {
            const std::size_t some = std::min(kFew, n - i);
            size_ += kernels_->select_scores(scores + i, rows == nullptr ? nullptr : rows + i, some,
                                             first + static_cast<std::uint32_t>(i), threshold_, &keys_[size_]);
            if (size_ > capacity_) cut();
        }
    }

    void offer(float score, std::uint32_t position) {
        if (k_ == 0) return;
        offer(&score, nullptr, 1, position);
    }

    // Makes least() what the offers so far say, or nearly.
    void tighten() {
        if (size_ > k_) cut();
    }

    // A later score must be above it to be among the best; −inf before there were k.
    float least() const noexcept {
        return threshold_ == 0 ? -std::numeric_limits<float>::infinity() : score_from_ordered(threshold_);
    }

    // Writes the best min(k, offered), best first, and returns how many: emit(rank, score, position).
    template <class Emit>
    std::size_t finish(Emit&& emit) {
        if (size_ > k_) cut();
        sort();
        for (std::size_t rank = 0; rank < size_; ++rank) {
            emit(rank, score_of(keys_[rank]), static_cast<std::uint32_t>(keys_[rank]));
        }
        return size_;
    }

  private:
    static constexpr std::size_t kFew = 64;                         // scores offered between two looks at the buffer
    static constexpr std::size_t kRoom = kFew + kSelectionPadding;  // of the buffer, beyond its capacity

    static float score_of(std::uint64_t key) noexcept {
        return score_from_ordered(static_cast<std::uint32_t>(key >> 32));
    }

    static std::uint64_t key_from(std::uint32_t ordered) noexcept { return std::uint64_t{ordered} << 32; }

    std::size_t reaching(std::uint32_t ordered) const noexcept {
        return kernels_->count_keys(&keys_[0], size_, key_from(ordered));
    }

    // The largest score that at least k of the buffer's more than k keys reach, or one that few more do.
    std::uint32_t reached_by_k() const noexcept {
        std::uint32_t low = threshold_;
        std::uint32_t high = std::numeric_limits<std::uint32_t>::max();
        while (low < high) {
            const std::uint32_t middle = high - (high - low) / 2;
            const std::size_t n = reaching(middle);
            if (n < k_) {
                high = middle - 1;
            } else {
                low = middle;
                if (n <= k_ + k_ / 8) break;
            }
        }
        return low;
    }

    // Cuts the buffer, of more than k, and raises the threshold.
    void cut() {
        threshold_ = reached_by_k();
        size_ = kernels_->select_keys(&keys_[0], size_, key_from(threshold_));
        if (size_ <= k_ + k_ / 8) return;
        // Equal scores: the first ones are among the k best.
        std::size_t left = k_ - reaching(threshold_ + 1);
        std::size_t kept = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            const std::uint64_t key = keys_[i];
            const bool last = key >> 32 == threshold_;
            keys_[kept] = key;
            kept += !last | (left > 0);
            left -= last & (left > 0);
        }
        size_ = kept;
    }

    void sort() {
        sorted_ = ScratchArray<std::uint64_t>(size_);
        sort_by_score(keys_, sorted_, size_);
        size_ = std::min(size_, k_);
    }

    std::size_t k_;
    std::size_t capacity_;
    std::size_t size_ = 0;
    std::uint32_t threshold_ = 0;
    const Kernels* kernels_ = &kernels();
    ScratchArray<std::uint64_t> keys_;
    ScratchArray<std::uint64_t> sorted_;  // at the end
};

}  // namespace karec
