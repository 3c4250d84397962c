// The k best of a stream of scores, ties by lowest position.
//
// A score and its position make one 64-bit key, ordered(score) << 32 | ~position, so that keys are distinct and one
// comparison settles both. Keys above the threshold (the k-th best so far) gather in a buffer; when it is full,
// quick-select keeps k and raises the threshold. Expected O(n + k log k).
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>

#include "scratch.hpp"

namespace karec {

class TopK {
  public:
    TopK(std::size_t k, std::size_t n) : k_(k), capacity_(std::max<std::size_t>(4 * k, 256)) {
        keys_.reserve(std::min(capacity_, n));
    }

    // Positions are offered at most once. NaN counts as −inf; −0 as +0.
    void offer(float score, std::uint32_t position) {
        if (score < least_) return;
        const std::uint64_t key = key_of(score, position);
        if (key <= threshold_ || k_ == 0) return;
        keys_.push_back(key);
        if (keys_.size() == capacity_) shrink();
    }

    // Offers scores[i] at position first + i. Where none of a few reaches the k-th best, they are passed over at once.
    void offer_all(const float* scores, std::size_t n, std::uint32_t first) {
        constexpr std::size_t kFew = 16;
        std::size_t i = 0;
        for (; i + kFew <= n; i += kFew) {
            unsigned below = 0;
            for (std::size_t j = 0; j < kFew; ++j) below += scores[i + j] < least_;
            if (below == kFew) continue;
            for (std::size_t j = i; j < i + kFew; ++j) offer(scores[j], first + static_cast<std::uint32_t>(j));
        }
        for (; i < n; ++i) offer(scores[i], first + static_cast<std::uint32_t>(i));
    }

    // Writes the best min(k, offered), best first, and returns how many: emit(rank, score, position).
    template <class Emit>
    std::size_t finish(Emit&& emit) {
        if (keys_.size() > k_) shrink();
        std::sort(keys_.begin(), keys_.end(), std::greater<>());
        for (std::size_t rank = 0; rank < keys_.size(); ++rank) {
            emit(rank, score_of(keys_[rank]), ~static_cast<std::uint32_t>(keys_[rank]));
        }
        return keys_.size();
    }

  private:
    static std::uint64_t key_of(float score, std::uint32_t position) noexcept {
        score = score == score ? score + 0.0f : -std::numeric_limits<float>::infinity();
        const auto bits = std::bit_cast<std::uint32_t>(score);
        const std::uint32_t negative = 0u - (bits >> 31);  // without a branch: signs are as good as random
        const std::uint32_t ordered = bits ^ (negative | 0x80000000u);
        return static_cast<std::uint64_t>(ordered) << 32 | ~position;
    }

    static float score_of(std::uint64_t key) noexcept {
        const auto ordered = static_cast<std::uint32_t>(key >> 32);
        return std::bit_cast<float>(ordered & 0x80000000u ? ordered & 0x7FFFFFFFu : ~ordered);
    }

    void shrink() {
        const auto kth = keys_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
        std::nth_element(keys_.begin(), kth, keys_.end(), std::greater<>());
        threshold_ = *kth;
        least_ = score_of(threshold_);
        keys_.resize(k_);
    }

    std::size_t k_;
    std::size_t capacity_;
    std::uint64_t threshold_ = 0;
    float least_ = -std::numeric_limits<float>::infinity();  // the score of the threshold
    ScratchVector<std::uint64_t> keys_;
};

}  // namespace karec
