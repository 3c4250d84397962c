// Greedy of MMR and SSD over blocks of items sorted by relevance.
//
// Without a window, scores only fall as picks are added. A block whose last computed best score is below the best so
// far is not updated; later it applies the directions that it missed, in order: the same bits as if every block were
// always up to date. With a window scores can rise again, and every block is updated at every pick. A value of a facet
// that gets a slot later than a direction was added is 0 in that direction.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "diversity/faceted_rows.hpp"
#include "diversity/feature_blocks.hpp"
#include "karec/mmr_ssd.hpp"
#include "kernels/kernels.hpp"

namespace karec {

inline constexpr double kLeastResidual = 1e-5;  // of ‖p‖², below which p counts as 0

inline std::vector<std::uint32_t> by_relevance(std::span<const float> relevance) {
    std::vector<std::uint32_t> order(relevance.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return relevance[a] > relevance[b]; });
    return order;
}

template <class Rule>
class MarginalGreedy {
  public:
    // `facets`: of the items, then of options.shown.
    MarginalGreedy(const MatrixView& embeddings, std::span<const double> squared_norms,
                   std::span<const float> relevance, Facets facets, const MmrSsdOptions& options)
        : dim_(embeddings.cols),
          width_(dim_),
          diversity_(options.diversity),
          rows_(embeddings, squared_norms, options.shown, std::move(facets)),
          features_(embeddings, squared_norms, rows_.scale(), by_relevance(relevance)),
          place_(features_.size()),
          slots_at_(features_.count()),
          state_(features_.count() * kBlockItems, Rule::kStart),
          value_(features_.count() * kBlockItems, -std::numeric_limits<double>::infinity()),
          seen_(features_.count(), 0),
          bounds_(features_.count()) {
        for (std::size_t place = 0; place < features_.size(); ++place) {
            const std::size_t item = features_.item(place);
            place_[item] = static_cast<std::uint32_t>(place);
            value_[place] = (1.0 - diversity_) * relevance[item];
            if (Rule::kOrthogonal) state_[place] = static_cast<float>(rows_.squared_length(item));
        }
        for (std::size_t b = 0; b < bounds_.size(); ++b) bounds_[b] = best_of(b, state_.data());
        for (std::size_t row = 0; row < options.shown.rows; ++row) add_direction(embeddings.rows + row);
        n_shown_ = n_directions();
    }

    std::size_t run(std::optional<std::size_t> window, std::span<std::int64_t> indices, std::span<double> scores) {
        const bool windowed = window && *window < indices.size();
        if (windowed) start_window(*window - 1);
        for (std::size_t t = 0; t < indices.size(); ++t) {
            if (windowed) slide();
            const bool nothing = n_directions() == 0;
            const std::size_t place = windowed ? best_in_window() : best();
            const std::size_t item = features_.item(place);
            const float* state = windowed ? window_state_.data() : state_.data();
            indices[t] = static_cast<std::int64_t>(item);
            scores[t] = nothing && !Rule::kOrthogonal ? value_[place] : score(place, state);  // max of nothing is 0
            value_[place] = -std::numeric_limits<double>::infinity();
            bounds_[place / kBlockItems] = std::numeric_limits<double>::infinity();
            add_direction(item);
        }
        return indices.size();
    }

  private:
    std::size_t n_directions() const noexcept { return width_ == 0 ? 0 : directions_.size() / width_; }

    double score(std::size_t place, const float* state) const noexcept {
        return value_[place] + diversity_ * Rule::penalty(state[place]);
    }

    double best_of(std::size_t b, const float* state) const noexcept {
        double best = -std::numeric_limits<double>::infinity();
        for (std::size_t i = b * kBlockItems; i < (b + 1) * kBlockItems; ++i) best = std::max(best, score(i, state));
        return best;
    }

    // Adds the direction of a row: its feature (MMR), or what all directions so far leave of it, normalised (SSD).
    void add_direction(std::size_t row) {
        for (const auto [other, slot] : rows_.count(row)) {
            if (other >= place_.size()) continue;
            const std::uint32_t place = place_[other];
            slots_at_[place / kBlockItems].push_back({slot, static_cast<std::uint32_t>(place % kBlockItems)});
        }
        if (dim_ + rows_.n_slots() > width_) widen();
        feature_.assign(width_, 0.0);
        std::copy(rows_.feature().begin(), rows_.feature().end(), feature_.begin());
        direction_ = feature_;
        if (Rule::kOrthogonal) {
            std::vector<double> parts(n_directions());
            kernels().gram_schmidt(directions_.data(), parts.size(), width_, feature_.data(), parts.data(),
                                   direction_.data());
            double squared = 0.0;
            for (const double x : direction_) squared += x * x;
            const double factor = squared > kLeastResidual ? 1.0 / std::sqrt(squared) : 0.0;
            for (double& x : direction_) x *= factor;
        }
        directions_.insert(directions_.end(), direction_.begin(), direction_.end());
        for (std::size_t d = 0; d < width_; ++d) {
            const bool of_vector = d < dim_ || d - dim_ >= rows_.n_slots();
            const double factor = of_vector ? 1.0 : rows_.root_weight(d - dim_);
            float_directions_.push_back(static_cast<float>(direction_[d] * factor));
        }
    }

    // Room for twice as many values as have a coordinate: directions so far are 0 there.
    void widen() {
        const std::size_t n = n_directions();
        const std::size_t width = dim_ + 2 * rows_.n_slots();
        std::vector<double> directions(n * width, 0.0);
        std::vector<float> floats(n * width, 0.0f);
        for (std::size_t s = 0; s < n; ++s) {
            std::copy_n(&directions_[s * width_], width_, &directions[s * width]);
            std::copy_n(&float_directions_[s * width_], width_, &floats[s * width]);
        }
        directions_.swap(directions);
        float_directions_.swap(floats);
        width_ = width;
    }

    void dots_of(std::size_t b, std::size_t direction, float* dots) {
        const float* of_direction = &float_directions_[direction * width_];
        std::fill_n(dots, kBlockItems, 0.0f);
        if (dim_ > 0) kernels().gemv_packed(features_.block(b), dim_, of_direction, dots);
        for (const auto [slot, at] : slots_at_[b]) dots[at] += of_direction[dim_ + slot];
    }

    void catch_up(std::size_t b, double best) {
        float* state = &state_[b * kBlockItems];
        float dots[kBlockItems];
        do {
            if (seen_[b] < n_directions()) {
                dots_of(b, seen_[b]++, dots);
                for (std::size_t i = 0; i < kBlockItems; ++i) state[i] = Rule::after(state[i], dots[i]);
            }
            bounds_[b] = best_of(b, state_.data());
        } while (seen_[b] < n_directions() && bounds_[b] >= best);
    }

    // Takes the first-listed best place of block b over where it wins.
    void contend(std::size_t b, const float* state, std::size_t& best, double& best_score) const noexcept {
        for (std::size_t place = b * kBlockItems; place < std::min(features_.size(), (b + 1) * kBlockItems); ++place) {
            const double here = score(place, state);
            if (here < best_score || here == -std::numeric_limits<double>::infinity()) continue;
            if (here == best_score && features_.item(place) > features_.item(best)) continue;
            best = place;
            best_score = here;
        }
    }

    std::size_t best() {
        std::size_t best = 0;
        double best_score = -std::numeric_limits<double>::infinity();
        for (std::size_t b = 0; b < bounds_.size(); ++b) {
            if (bounds_[b] < best_score) continue;
            catch_up(b, best_score);
            if (bounds_[b] >= best_score) contend(b, state_.data(), best, best_score);
        }
        return best;
    }

    // state_ keeps what was shown; ring_ keeps the dots of the last `size` picks, one row a pick.
    void start_window(std::size_t size) {
        for (std::size_t b = 0; b < bounds_.size(); ++b) {
            while (seen_[b] < n_directions()) catch_up(b, -std::numeric_limits<double>::infinity());
        }
        ring_.resize(size);
        window_state_ = state_;
    }

    void slide() {
        const std::size_t n_picks = n_directions() - n_shown_;
        if (n_picks > ring_.size()) {
            const auto oldest = static_cast<std::ptrdiff_t>(n_shown_ * width_);
            const auto next = static_cast<std::ptrdiff_t>((n_shown_ + 1) * width_);
            directions_.erase(directions_.begin() + oldest, directions_.begin() + next);
            float_directions_.erase(float_directions_.begin() + oldest, float_directions_.begin() + next);
        }
        if (n_picks == 0 || ring_.empty()) return;
        std::rotate(ring_.begin(), ring_.begin() + (n_picks > ring_.size() ? 1 : 0), ring_.end());
        const std::size_t in_ring = std::min(n_picks, ring_.size());
        std::vector<float>& newest = ring_[in_ring - 1];
        newest.resize(state_.size());
        for (std::size_t b = 0; b < bounds_.size(); ++b) {
            dots_of(b, n_directions() - 1, &newest[b * kBlockItems]);
        }
        window_state_ = state_;
        for (std::size_t s = 0; s < in_ring; ++s) {
            for (std::size_t i = 0; i < state_.size(); ++i) {
                window_state_[i] = Rule::after(window_state_[i], ring_[s][i]);
            }
        }
    }

    std::size_t best_in_window() const noexcept {
        std::size_t best = 0;
        double best_score = -std::numeric_limits<double>::infinity();
        for (std::size_t b = 0; b < bounds_.size(); ++b) contend(b, window_state_.data(), best, best_score);
        return best;
    }

    struct SlotAt {
        std::uint32_t slot;
        std::uint32_t at;  // in the block
    };

    std::size_t dim_;
    std::size_t width_;  // of directions: D + room for slots
    double diversity_;
    FacetedRows rows_;
    FeatureBlocks features_;                     // place → item: by relevance, largest first
    std::vector<std::uint32_t> place_;           // item → place
    std::vector<std::vector<SlotAt>> slots_at_;  // of each block
    std::vector<float> state_;                   // by place
    std::vector<double> value_;                  // (1 − diversity)·r by place; −∞ = taken
    std::vector<std::size_t> seen_;
    std::vector<double> bounds_;
    std::vector<double> feature_;
    std::vector<double> direction_;
    std::vector<double> directions_;       // (directions, width)
    std::vector<float> float_directions_;  // the same; at a slot times √w_f, so that an item with the value adds it
    std::size_t n_shown_ = 0;
    std::vector<std::vector<float>> ring_;
    std::vector<float> window_state_;
};

}  // namespace karec
