// Greedy selection of MMR and SSD over blocks of items sorted by relevance.
//
// Algorithm  Without a window, scores only fall as picks are added. A block whose last computed best score is below the
//            best so far is not updated; later it applies the missing directions, in order. So results have the
//            same bits as if all blocks were always up to date. With a window scores can rise again: every pick updates
//            every block. A direction has D entries and one for each slot: a facet value that a picked or shown row
//            shares with other rows. Values that no other row has share one slot for their row, √(Σ w_f): items do not
//            have it, but directions of later rows do. A slot that is added later than a direction is 0 in the
//            direction.
// Cost       karec/mmr_ssd.hpp
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

#include "diversity/facet_slots.hpp"
#include "diversity/feature_blocks.hpp"
#include "karec/mmr_ssd.hpp"
#include "kernels/kernels.hpp"

namespace karec {

inline constexpr double kMinResidual = 1e-5;  // p with a smaller ‖p‖² counts as 0

inline std::vector<std::uint32_t> by_relevance(std::span<const float> relevance) {
    std::vector<std::uint32_t> order(relevance.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return relevance[a] > relevance[b]; });
    return order;
}

template <class Rule>
class MmrSsdGreedy {
  public:
    MmrSsdGreedy(const FeatureRows& rows, std::span<const float> relevance, double diversity)
        : rows_(rows),
          dim_(rows.dim()),
          width_(dim_),
          diversity_(diversity),
          facet_slots_(rows),
          features_(rows, by_relevance(relevance)),
          place_(features_.size()),
          slot_places_(features_.n_blocks()),
          state_(features_.n_blocks() * kBlockItems, Rule::kStart),
          value_(features_.n_blocks() * kBlockItems, -std::numeric_limits<double>::infinity()),
          n_applied_(features_.n_blocks(), 0),
          bounds_(features_.n_blocks()) {
        for (std::size_t place = 0; place < features_.size(); ++place) {
            const std::size_t item = features_.item(place);
            place_[item] = static_cast<std::uint32_t>(place);
            value_[place] = (1.0 - diversity_) * relevance[item];
            if (Rule::kOrthogonal) state_[place] = static_cast<float>(rows_.squared_length(item));
        }
        for (std::size_t b = 0; b < bounds_.size(); ++b) bounds_[b] = largest_score(b, state_.data());
        for (std::size_t row = rows.n_items(); row < rows.n_rows(); ++row) add_direction(row);
        n_shown_ = n_directions();
    }

    std::size_t run(std::optional<std::size_t> window, std::span<std::int64_t> indices, std::span<double> scores) {
        const bool has_window = window && *window < indices.size();
        if (has_window) start_window(*window - 1);
        for (std::size_t t = 0; t < indices.size(); ++t) {
            if (has_window) slide();
            const bool has_directions = n_directions() > 0;
            const std::size_t place = has_window ? best_in_window() : best();
            const std::size_t item = features_.item(place);
            const float* state = has_window ? window_state_.data() : state_.data();
            indices[t] = static_cast<std::int64_t>(item);
            // The maximum over no rows is 0.
            scores[t] = has_directions || Rule::kOrthogonal ? score(place, state) : value_[place];
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

    double largest_score(std::size_t b, const float* state) const noexcept {
        double best = -std::numeric_limits<double>::infinity();
        for (std::size_t i = b * kBlockItems; i < (b + 1) * kBlockItems; ++i) best = std::max(best, score(i, state));
        return best;
    }

    // Sets feature_ to φ of a row that is picked or shown; its values get slots.
    void set_feature(std::size_t row) {
        slot_rows_.clear();
        feature_.assign(dim_ + root_weights_.size(), 0.0);
        rows_.write_vector(row, std::span(feature_).first(dim_));
        double unshared_weight = 0.0;
        for (std::size_t f = 0; f < rows_.facets.size(); ++f) {
            const double weight = rows_.facets.weights[f];
            std::uint32_t slot = facet_slots_.slot(f, row);
            if (slot == FacetSlots::kNotAdded) {
                const auto next = static_cast<std::uint32_t>(root_weights_.size());
                slot = facet_slots_.add(f, row, next, slot_rows_);
                if (slot == next) {
                    root_weights_.push_back(std::sqrt(weight));
                    feature_.push_back(0.0);
                }
            }
            if (FacetSlots::is_slot(slot)) feature_[dim_ + slot] = std::sqrt(weight);
            if (slot == FacetSlots::kUnshared) unshared_weight += weight;
        }
        if (unshared_weight > 0.0) {
            root_weights_.push_back(0.0);
            feature_.push_back(std::sqrt(unshared_weight));
        }
        if (feature_.size() > width_) widen();
        feature_.resize(width_, 0.0);
        for (const auto [other, slot] : slot_rows_) {
            if (other >= place_.size()) continue;
            const std::uint32_t place = place_[other];
            slot_places_[place / kBlockItems].push_back({slot, static_cast<std::uint32_t>(place % kBlockItems)});
        }
    }

    // Adds the direction of a row: its feature (MMR), or its normalised residual, given all directions so far (SSD).
    void add_direction(std::size_t row) {
        set_feature(row);
        direction_ = feature_;
        if (Rule::kOrthogonal) {
            std::vector<double> parts(n_directions());
            kernels().gram_schmidt(directions_.data(), parts.size(), width_, feature_.data(), parts.data(),
                                   direction_.data());
            double squared = 0.0;
            for (const double x : direction_) squared += x * x;
            const double factor = squared > kMinResidual ? 1.0 / std::sqrt(squared) : 0.0;
            for (double& x : direction_) x *= factor;
        }
        directions_.insert(directions_.end(), direction_.begin(), direction_.end());
        for (std::size_t d = 0; d < width_; ++d) {
            const bool is_slot = d >= dim_ && d - dim_ < root_weights_.size();
            const double factor = is_slot ? root_weights_[d - dim_] : 1.0;
            float_directions_.push_back(static_cast<float>(direction_[d] * factor));
        }
    }

    // Makes room for twice as many slots; directions so far are 0 there.
    void widen() {
        const std::size_t n = n_directions();
        const std::size_t width = dim_ + 2 * root_weights_.size();
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

    // dots (64) = ⟨φ, direction⟩ of the items of block b.
    void multiply(std::size_t b, std::size_t s, float* dots) {
        const float* direction = &float_directions_[s * width_];
        std::fill_n(dots, kBlockItems, 0.0f);
        if (dim_ > 0) kernels().gemv_packed(features_.block(b), dim_, direction, dots);
        for (const auto [slot, place] : slot_places_[b]) dots[place] += direction[dim_ + slot];
    }

    void update(std::size_t b, double best) {
        float* state = &state_[b * kBlockItems];
        float dots[kBlockItems];
        do {
            if (n_applied_[b] < n_directions()) {
                multiply(b, n_applied_[b]++, dots);
                for (std::size_t i = 0; i < kBlockItems; ++i) state[i] = Rule::after(state[i], dots[i]);
            }
            bounds_[b] = largest_score(b, state_.data());
        } while (n_applied_[b] < n_directions() && bounds_[b] >= best);
    }

    // Replaces `best` if an item of block b has a larger score, or the same and a lower index.
    void compare(std::size_t b, const float* state, std::size_t& best, double& best_score) const noexcept {
        for (std::size_t place = b * kBlockItems; place < std::min(features_.size(), (b + 1) * kBlockItems); ++place) {
            const double place_score = score(place, state);
            if (place_score < best_score || place_score == -std::numeric_limits<double>::infinity()) continue;
            if (place_score == best_score && features_.item(place) > features_.item(best)) continue;
            best = place;
            best_score = place_score;
        }
    }

    std::size_t best() {
        std::size_t best = 0;
        double best_score = -std::numeric_limits<double>::infinity();
        for (std::size_t b = 0; b < bounds_.size(); ++b) {
            if (bounds_[b] < best_score) continue;
            update(b, best_score);
            if (bounds_[b] >= best_score) compare(b, state_.data(), best, best_score);
        }
        return best;
    }

    // From now on state_ includes shown rows only, and window_dots_ has the dots of the last `size` picks.
    void start_window(std::size_t size) {
        for (std::size_t b = 0; b < bounds_.size(); ++b) {
            while (n_applied_[b] < n_directions()) update(b, -std::numeric_limits<double>::infinity());
        }
        window_dots_.resize(size);
        window_state_ = state_;
    }

    void slide() {
        const std::size_t n_picks = n_directions() - n_shown_;
        if (n_picks > window_dots_.size()) {
            const auto oldest = static_cast<std::ptrdiff_t>(n_shown_ * width_);
            const auto next = static_cast<std::ptrdiff_t>((n_shown_ + 1) * width_);
            directions_.erase(directions_.begin() + oldest, directions_.begin() + next);
            float_directions_.erase(float_directions_.begin() + oldest, float_directions_.begin() + next);
        }
        if (n_picks == 0 || window_dots_.empty()) return;
        std::rotate(window_dots_.begin(), window_dots_.begin() + (n_picks > window_dots_.size() ? 1 : 0),
                    window_dots_.end());
        const std::size_t n_window = std::min(n_picks, window_dots_.size());
        std::vector<float>& newest = window_dots_[n_window - 1];
        newest.resize(state_.size());
        for (std::size_t b = 0; b < bounds_.size(); ++b) {
            multiply(b, n_directions() - 1, &newest[b * kBlockItems]);
        }
        window_state_ = state_;
        for (std::size_t s = 0; s < n_window; ++s) {
            for (std::size_t i = 0; i < state_.size(); ++i) {
                window_state_[i] = Rule::after(window_state_[i], window_dots_[s][i]);
            }
        }
    }

    std::size_t best_in_window() const noexcept {
        std::size_t best = 0;
        double best_score = -std::numeric_limits<double>::infinity();
        for (std::size_t b = 0; b < bounds_.size(); ++b) compare(b, window_state_.data(), best, best_score);
        return best;
    }

    struct SlotPlace {
        std::uint32_t slot;
        std::uint32_t place;  // in the block
    };

    const FeatureRows& rows_;
    std::size_t dim_;
    std::size_t width_;  // of directions: D + room for slots
    double diversity_;
    FacetSlots facet_slots_;
    FeatureBlocks features_;                           // places by relevance, largest first
    std::vector<std::uint32_t> place_;                 // by item
    std::vector<std::vector<SlotPlace>> slot_places_;  // of each block
    std::vector<float> state_;                         // by place
    std::vector<double> value_;                        // (1 − diversity)·r by place; −∞ = selected
    std::vector<std::size_t> n_applied_;               // directions that state_ of a block includes
    std::vector<double> bounds_;
    std::vector<double> root_weights_;  // √w_f of each slot; 0 for unshared values
    std::vector<SlotRow> slot_rows_;
    std::vector<double> feature_;
    std::vector<double> direction_;
    std::vector<double> directions_;       // (directions, width)
    std::vector<float> float_directions_;  // the same; at a slot times √w_f, so that an item with the value adds it
    std::size_t n_shown_ = 0;              // directions of shown rows: the first ones
    std::vector<std::vector<float>> window_dots_;
    std::vector<float> window_state_;
};

}  // namespace karec
