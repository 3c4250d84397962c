// The rows that may be among the k best of one query, by bounds of their scores.
//
// Algorithm: rows come with an approximate score, whose margin of error is that of their tile (search/score_bound.hpp).
// When the buffer of 4·k is full, the k-th largest lower bound is found by bisection, a pass over the buffer a step,
// and rows whose upper bound is below it are dropped: k others are better. Where that leaves it nearly full, all are
// scored exactly and offered to the TopK. Where many of each tile's 64 rows come (many equal scores, scores that rise,
// margins wider than scores lie apart), scoring whole tiles is cheaper: the next tiles are to be scored so, twice as
// many as the last time, and then a few rows show whether they still come as densely. So are the first ones.
// Cost: O(1) a row that comes, expected; rows in no order that pass the bound are O(k·log(N/k)) of N.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "search/score_bound.hpp"
#include "search/scoring.hpp"
#include "search/top_k.hpp"

namespace karec {

class Contenders {
  public:
    // Of n rows, for a query of this bound_error(); k > 0. `tiles` has the margin of each tile that rows come from.
    Contenders(std::size_t k, std::size_t n, float error, const ScratchVector<TileMargin>& tiles)
        : k_(k),
          capacity_(std::min(std::max<std::size_t>(4 * k, 256), n)),
          error_(error),
          tiles_(&tiles),
          rows_(capacity_ + kTile),
          bounds_(capacity_ + kTile) {
        whole_until_ = (std::min(n, TopK::n_kept(k, n)) / kTile + 1) * kTile;
    }

    // The first row that is not to be scored whole and offered to the TopK in place of add(). It changes in thin().
    std::size_t whole_until() const noexcept { return whole_until_; }

    // After the last of the tiles that are scored whole.
    void bound_again(TopK& top) {
        since_ = whole_until_;
        limit_ = std::min(capacity_, kFew);
        top.tighten();
        least_ = std::max(least_, top.least());
    }

    // A later row whose score is not above it is not among the k best.
    float least() const noexcept { return least_; }

    // Rows come in rising order, at most 64 between two calls of thin().
    void add(std::int32_t row, float score) noexcept {
        const float bound = below(score, margin(row));
        rows_[size_] = row;
        bounds_[size_] = bound == bound ? bound : -std::numeric_limits<float>::infinity();
        largest_ = std::max(largest_, bounds_[size_]);
        ++size_;
    }

    bool full() const noexcept { return size_ > limit_; }

    // Makes room where it is full, before row `next`.
    void thin(const Generation& g, const ReadyQuery& ready, TopK& top, std::size_t next) {
        const std::size_t tiles = (next - since_ + kTile - 1) / kTile;
        const std::size_t came = size_ - kept_;
        bool many = came > kMany * tiles;
        if (!many && limit_ < capacity_) {
            limit_ = capacity_;
            if (size_ <= limit_) return;
        }
        drop();
        if (many || size_ > capacity_ - capacity_ / 8) {
            many = came > kManyScored * tiles;
            settle(g, ready, top);
        }
        kept_ = size_;
        since_ = next;
        n_whole_ = many ? 2 * n_whole_ : capacity_;
        if (many) whole_until_ = next + (n_whole_ + kTile - 1) / kTile * kTile;
    }

    // Offers what is left to `top`.
    void finish(const Generation& g, const ReadyQuery& ready, TopK& top) {
        drop();
        settle(g, ready, top);
    }

  private:
    static constexpr std::size_t kMany = 24;       // rows of a tile
    static constexpr std::size_t kManyScored = 6;  // where they cannot be dropped
    static constexpr std::size_t kFew = 256;       // rows that show how densely they come

    // Larger for larger floats.
    static std::int32_t ordered(float x) noexcept {
        const auto bits = std::bit_cast<std::int32_t>(x);
        return bits ^ (bits >> 31 & 0x7FFFFFFF);
    }
    static float unordered(std::int32_t bits) noexcept {
        return std::bit_cast<float>(bits ^ (bits >> 31 & 0x7FFFFFFF));
    }

    std::size_t reaching(float bound) const noexcept {
        std::uint32_t n = 0;
        const float* bounds = &bounds_[0];
        for (std::size_t i = 0; i < size_; ++i) n += bounds[i] >= bound;
        return n;
    }

    // A number that at least k of the bounds reach, of which at most k / 8 more do if they are not equal.
    float reached_by_k() const noexcept {
        std::int32_t low = ordered(reaching(least_) < k_ ? -std::numeric_limits<float>::infinity() : least_);
        std::int32_t high = ordered(largest_);
        while (low < high) {
            const auto middle = static_cast<std::int32_t>(low + (std::int64_t{high} - low + 1) / 2);
            const std::size_t n = reaching(unordered(middle));
            if (n < k_) {
                high = middle - 1;
            } else {
                low = middle;
                if (n <= k_ + k_ / 8) break;
            }
        }
        return unordered(low);
    }

    void drop() noexcept {
        if (size_ <= k_) return;
        const float reached = reached_by_k();
        least_ = std::max(least_, reached);
        std::size_t kept = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            const std::int32_t row = rows_[i];
            const float bound = bounds_[i];
            rows_[kept] = row;
            bounds_[kept] = bound;
            kept += !(upper(bound, margin(row)) < reached);
        }
        size_ = kept;
    }

    // At least above(score, margin), from below(score, margin).
    static float upper(float bound, float margin) noexcept {
        return margin == 0.0f ? bound : bound + 2.01f * (margin + std::abs(bound) * 0x1p-21f);
    }

    float margin(std::int32_t row) const noexcept {
        return (*tiles_)[static_cast<std::size_t>(row) / kTile].of(error_);
    }

    void settle(const Generation& g, const ReadyQuery& ready, TopK& top) {
        const std::span<const std::int32_t> left(&rows_[0], size_);
        score_rows(g, ready, left,
                   [&](std::size_t first, std::size_t n, const std::int32_t* rows, const float* scores) {
                       for (std::size_t i = 0; i < n; ++i) {
                           if (rows[i] >= 0) top.offer(scores[i], static_cast<std::uint32_t>(left[first + i]));
                       }
                   });
        size_ = kept_ = 0;
        top.tighten();
        least_ = std::max(least_, top.least());
    }

    std::size_t k_;
    std::size_t capacity_;
    float error_;
    const ScratchVector<TileMargin>* tiles_;
    std::size_t size_ = 0;
    std::size_t limit_ = capacity_;
    std::size_t kept_ = 0;   // of the buffer, what thin() left
    std::size_t since_ = 0;  // the row from which on the others came
    std::size_t whole_until_ = 0;
    std::size_t n_whole_ = capacity_;  // of rows, about half of what is scored whole next
    float least_ = -std::numeric_limits<float>::infinity();
    float largest_ = -std::numeric_limits<float>::infinity();  // no bound is above it
    ScratchArray<std::int32_t> rows_;
    ScratchArray<float> bounds_;  // of their scores, from below
};

}  // namespace karec
