// BoundedTopK collects the rows of one query whose score bound can still reach the k best.
//
// Algorithm: a row is added with an approximate score; its error is bounded by the margin of its tile
// (search/score_bound.hpp). If the buffer of 4·k rows is full, bisection finds about the k-th largest lower bound, and
// rows with a smaller upper bound are dropped: k others are better. If that leaves the buffer nearly full, its rows are
// scored exactly and offered to the query's TopK.
// If many of each tile's 64 rows are added (many equal scores, rising scores, margins wider than the distance of
// scores), scoring whole tiles is cheaper. Then the next tiles are exact, twice as many as the last time; after them a
// trial of a few rows shows if still many rows are added. The first tiles of a scan are exact too.
// Cost: O(1) expected for an added row. Of N rows in random order O(k·log(N/k)) are added.
// Threads: one at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "search/score_bound.hpp"
#include "search/scoring.hpp"
#include "search/top_k.hpp"

namespace karec {

class BoundedTopK {
  public:
    // For n rows and a query of this bound_error(); k > 0. `margins` has the margin of each tile of added rows.
    BoundedTopK(std::size_t k, std::size_t n, float error, const ScratchVector<TileMargin>& margins)
        : k_(k),
          capacity_(TopK::buffer_size(k, n)),
          error_(error),
          margins_(&margins),
          exact_end_((capacity_ / kTile + 1) * kTile),
          rows_(capacity_ + kTile),
          bounds_(capacity_ + kTile) {}

    // Rows below it are offered to the TopK with their exact scores, in whole tiles, instead of add(). compact()
    // changes it.
    std::size_t exact_end() const noexcept { return exact_end_; }

    // Call it after the last exact tile.
    void begin_bounds(TopK& top) {
        first_row_ = exact_end_;
        max_size_ = std::min(capacity_, kTrialSize);
        raise_threshold(top);
    }

    // A later row must score above it to be among the k best.
    float threshold() const noexcept { return threshold_; }

    // Rows are added in rising order, at most 64 between two calls of compact().
    void add(std::int32_t row, float score) noexcept {
        const float bound = below(score, margin(row));
        rows_[size_] = row;
        bounds_[size_] = bound == bound ? bound : -std::numeric_limits<float>::infinity();
        max_bound_ = std::max(max_bound_, bounds_[size_]);
        ++size_;
    }

    bool is_full() const noexcept { return size_ > max_size_; }

    // Makes room in a full buffer. `next` is the first row that was not added yet.
    void compact(const Generation& g, const PaddedQueries& queries, TopK& top, std::size_t next) {
        const std::size_t n_tiles = (next - first_row_ + kTile - 1) / kTile;
        const std::size_t n_added = size_ - n_compacted_;
        bool is_dense = n_added > kDenseRows * n_tiles;
        if (!is_dense && max_size_ < capacity_) {
            max_size_ = capacity_;
            if (size_ <= max_size_) return;
        }
        drop_losers();
        if (is_dense || size_ > capacity_ - capacity_ / 8) {
            is_dense = n_added > kDenseScoredRows * n_tiles;
            score_rest(g, queries, top);
        }
        n_compacted_ = size_;
        first_row_ = next;
        n_exact_ = is_dense ? 2 * n_exact_ : capacity_;
        if (is_dense) exact_end_ = next + (n_exact_ + kTile - 1) / kTile * kTile;
    }

    // Offers the rows that are left to `top`.
    void finish(const Generation& g, const PaddedQueries& queries, TopK& top) {
        drop_losers();
        score_rest(g, queries, top);
    }

  private:
    static constexpr std::size_t kDenseRows = 24;       // added rows of a tile from which exact tiles are cheaper
    static constexpr std::size_t kDenseScoredRows = 6;  // the same if the bounds drop few of them
    static constexpr std::size_t kTrialSize = 256;      // rows that show how densely they are added

    void raise_threshold(TopK& top) {
        top.tighten();
        threshold_ = std::max(threshold_, top.threshold());
    }

    std::size_t count_from(float bound) const noexcept {
        std::uint32_t n = 0;
        const float* bounds = &bounds_[0];
        for (std::size_t i = 0; i < size_; ++i) n += bounds[i] >= bound;
        return n;
    }

    void drop_losers() noexcept {
        if (size_ <= k_) return;
        const bool reach_threshold = count_from(threshold_) >= k_;
        const float low = reach_threshold ? threshold_ : -std::numeric_limits<float>::infinity();
        const float bound = score_from_ordered(find_kth_score(
            ordered_score(low), ordered_score(max_bound_), k_, k_ + k_ / 8,
            [this](std::uint32_t ordered) { return count_from(score_from_ordered(ordered)); }, halve_range));
        threshold_ = std::max(threshold_, bound);
        std::size_t size = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            const std::int32_t row = rows_[i];
            const float lower = bounds_[i];
            rows_[size] = row;
            bounds_[size] = lower;
            size += !(upper_bound(lower, margin(row)) < bound);
        }
        size_ = size;
    }

    // At least above(score, margin), from lower = below(score, margin).
    static float upper_bound(float lower, float margin) noexcept {
        return margin == 0.0f ? lower : lower + 2.01f * (margin + std::abs(lower) * 0x1p-21f);
    }

    float margin(std::int32_t row) const noexcept {
        return (*margins_)[static_cast<std::size_t>(row) / kTile].margin_of(error_);
    }

    void score_rest(const Generation& g, const PaddedQueries& queries, TopK& top) {
        const std::span<const std::int32_t> rest(&rows_[0], size_);
        score_rows(g, queries, rest,
                   [&](std::size_t first, std::size_t n, const std::int32_t* rows, const float* scores) {
                       for (std::size_t i = 0; i < n; ++i) {
                           if (rows[i] >= 0) top.offer(scores[i], static_cast<std::uint32_t>(rest[first + i]));
                       }
                   });
        size_ = 0;
        n_compacted_ = 0;
        raise_threshold(top);
    }

    std::size_t k_;
    std::size_t capacity_;
    float error_;
    const ScratchVector<TileMargin>* margins_;
    std::size_t exact_end_;
    std::size_t size_ = 0;
    std::size_t max_size_ = capacity_;
    std::size_t n_compacted_ = 0;      // entries that the last compact() left
    std::size_t first_row_ = 0;        // the first row that could be added after it
    std::size_t n_exact_ = capacity_;  // half the rows of the next exact tiles
    float threshold_ = -std::numeric_limits<float>::infinity();
    float max_bound_ = -std::numeric_limits<float>::infinity();  // no bound is above it
    ScratchArray<std::int32_t> rows_;
    ScratchArray<float> bounds_;  // lower bounds of the rows' scores
};

}  // namespace karec
