#include "rules/arrange_slots.hpp"

#include <algorithm>

namespace karec {
namespace {

// 0 or 1 for each byte of a bool array: any byte but 0 is true.
std::vector<std::uint8_t> to_flags(std::span<const std::uint8_t> bytes) {
    std::vector<std::uint8_t> flags(bytes.size());
    std::ranges::transform(bytes, flags.begin(), [](std::uint8_t byte) { return std::uint8_t{byte != 0}; });
    return flags;
}

}  // namespace

ArrangeSlots::ArrangeSlots(std::size_t n, std::span<const ArrangeSlot> slots,
                           std::span<const std::uint8_t> is_slot_only, std::size_t k)
    : n_(n), is_slot_only_(to_flags(is_slot_only)), slot_at_(k, kNone) {
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
        positions_.push_back(slots[slot].position);
        is_empty_.push_back(slots[slot].is_empty);
        members_.push_back(to_flags(slots[slot].members));
        slot_at_[positions_[slot]] = slot;
    }
    const auto n_slot_only =
        static_cast<std::size_t>(std::count(is_slot_only_.begin(), is_slot_only_.end(), std::uint8_t{1}));
    // The longest list whose positions can all be filled: by items that may be anywhere, by slot-only items in their
    // slots, and empty slots count as filled.
    for (n_positions_ = std::min(k, n - n_slot_only + slots.size());; --n_positions_) {
        match(n_positions_);
        std::size_t n_filled = n - n_slot_only;
        for (std::size_t slot = 0; slot < positions_.size(); ++slot) {
            if (positions_[slot] >= n_positions_) continue;
            const std::size_t item = matched_items_[slot];
            n_filled += is_empty(slot) || (item != kNone && this->is_slot_only(item));
        }
        if (n_filled >= n_positions_) break;
    }
    for (std::size_t slot = 0; slot < positions_.size(); ++slot) {
        n_unmet_ += positions_[slot] < n_positions_ && !is_empty(slot) && matched_items_[slot] == kNone;
    }
}

void ArrangeSlots::match(std::size_t n_positions) {
    matched_items_.assign(positions_.size(), kNone);
    std::vector<std::uint8_t> is_visited(positions_.size());
    for (const bool slot_only : {true, false}) {
        for (std::size_t item = 0; item < n_; ++item) {
            if (is_slot_only(item) != slot_only) continue;
            for (std::size_t slot = 0; slot < positions_.size(); ++slot) {
                is_visited[slot] = positions_[slot] >= n_positions || is_empty(slot);  // takes no item
            }
            add_to_matching(item, is_visited);
        }
    }
}

bool ArrangeSlots::add_to_matching(std::size_t item, std::vector<std::uint8_t>& is_visited) {
    for (std::size_t slot = 0; slot < positions_.size(); ++slot) {
        if (is_visited[slot] != 0 || !has_member(slot, item)) continue;
        is_visited[slot] = 1;
        if (matched_items_[slot] == kNone || add_to_matching(matched_items_[slot], is_visited)) {
            matched_items_[slot] = item;
            return true;
        }
    }
    return false;
}

}  // namespace karec
