// Assigns items to as many slots of arrange() as possible, and finds the length of the list.
//
// Algorithm  A maximum matching of slots and items; of those, one with the most items of is_slot_only. Kuhn's algorithm
//            from the items' side, items of is_slot_only first.
// Cost       O(n·S²) for S slots.
// Source     H. W. Kuhn, "The Hungarian Method for the Assignment Problem", 1955.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/arrange.hpp"

namespace karec {

class ArrangeSlots {
  public:
    static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

    ArrangeSlots(std::size_t n, std::span<const ArrangeSlot> slots, std::span<const std::uint8_t> is_slot_only,
                 std::size_t k);

    std::size_t n_positions() const noexcept { return n_positions_; }  // ≤ k: each of them can be filled
    std::size_t n_unmet() const noexcept { return n_unmet_; }          // slots within n_positions without a member
    std::size_t slot_at(std::size_t position) const noexcept { return slot_at_[position]; }  // or kNone
    bool is_empty(std::size_t slot) const noexcept { return is_empty_[slot] != 0; }
    bool has_member(std::size_t slot, std::size_t item) const noexcept { return members_[slot][item] != 0; }
    bool is_slot_only(std::size_t item) const noexcept { return !is_slot_only_.empty() && is_slot_only_[item] != 0; }
    std::size_t matched_item(std::size_t slot) const noexcept { return matched_items_[slot]; }  // kNone: unmet

  private:
    void match(std::size_t n_positions);
    bool add_to_matching(std::size_t item, std::vector<std::uint8_t>& is_visited);

    std::size_t n_;
    std::vector<std::size_t> positions_;              // by slot
    std::vector<std::uint8_t> is_empty_;              // by slot
    std::vector<std::vector<std::uint8_t>> members_;  // by slot, then item
    std::vector<std::uint8_t> is_slot_only_;
    std::vector<std::size_t> slot_at_;        // by position
    std::vector<std::size_t> matched_items_;  // by slot
    std::size_t n_positions_ = 0;
    std::size_t n_unmet_ = 0;
};

}  // namespace karec
