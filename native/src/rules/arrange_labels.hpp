// Labels of one rule of arrange() as numbers 0, 1, …, and the positions of each label so far.
//
// Conflicts that can never exceed the limit and labels that no other item conflicts with are dropped, so that a search
// treats items that differ only by those as equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/arrange.hpp"

namespace karec {

class ArrangeLabels {
  public:
    static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

    ArrangeLabels(const ArrangeRule& rule, std::size_t n_positions);

    std::size_t label(std::size_t item) const noexcept { return labels_[item]; }
    std::size_t conflict(std::size_t item) const noexcept { return conflicts_[item]; }

    // Conflicts above the limit of the item at `position`. O(conflicts in the window).
    std::size_t excess(std::size_t position, std::size_t item) const noexcept {
        if (conflicts_[item] == kNone) return 0;
        const std::vector<std::size_t>& positions = positions_[conflicts_[item]];
        std::size_t n_conflicts = 0;
        for (auto p = positions.rbegin(); p != positions.rend() && *p + window_ > position + n_shown_; ++p) {
            ++n_conflicts;
        }
        return n_conflicts > max_conflicts_ ? n_conflicts - max_conflicts_ : 0;
    }

    // Positions are added in ascending order; the last one of the item's label is removed first.
    void add(std::size_t position, std::size_t item) {
        if (labels_[item] != kNone) positions_[labels_[item]].push_back(position + n_shown_);
    }
    void remove_last(std::size_t item) noexcept {
        if (labels_[item] != kNone) positions_[labels_[item]].pop_back();
    }

  private:
    std::size_t window_;
    std::size_t max_conflicts_;
    std::size_t n_shown_;
    std::vector<std::size_t> labels_;                  // by item
    std::vector<std::size_t> conflicts_;               // by item
    std::vector<std::vector<std::size_t>> positions_;  // by label, ascending; the first shown item is at 0
};

}  // namespace karec
