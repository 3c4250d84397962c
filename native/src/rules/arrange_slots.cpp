#include "rules/arrange_slots.hpp"

#include <algorithm>

namespace karec {
namespace {

// Returns 0 or 1 for each byte of a bool array: any byte but 0 is true.
std::vector<std::uint8_t> flags_of(std::span<const std::uint8_t> bytes) {
    std::vector<std::uint8_t> flags(bytes.size());
    std::ranges::transform(bytes, flags.begin(), [](std::uint8_t byte) { return std::uint8_t{byte != 0}; });
    return flags;
}

}  // namespace

ArrangeSlots::ArrangeSlots(std::size_t n, std::span<const ArrangeSlot> slots, std::span<const std::uint8_t> only,
                           std::size_t k)
    : n_(n), only_(flags_of(only)), at_(k, NONE) {
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
        places_.push_back(slots[slot].place);
        free_.push_back(slots[slot].free);
        fits_.push_back(flags_of(slots[slot].fits));
        at_[places_[slot]] = slot;
    }
    const auto n_only = static_cast<std::size_t>(std::count(only_.begin(), only_.end(), std::uint8_t{1}));
    // The longest list all of whose places can be filled: by all other items, items of `only` in slots, and nobody in
    // free ones.
    for (n_places_ = std::min(k, n - n_only + slots.size());; --n_places_) {
        match(n_places_);
        std::size_t n_filled = n - n_only;
        for (std::size_t slot = 0; slot < places_.size(); ++slot) {
            if (places_[slot] >= n_places_) continue;
            n_filled += free(slot) || (item_of_[slot] != NONE && this->only(item_of_[slot]));
        }
        if (n_filled >= n_places_) break;
    }
    for (std::size_t slot = 0; slot < places_.size(); ++slot) {
        n_unmet_ += places_[slot] < n_places_ && !free(slot) && item_of_[slot] == NONE;
    }
}

void ArrangeSlots::match(std::size_t n_places) {
    item_of_.assign(places_.size(), NONE);
    std::vector<std::uint8_t> asked(places_.size());
    for (const bool of_only : {true, false}) {
        for (std::size_t item = 0; item < n_; ++item) {
            if (only(item) != of_only) continue;
            for (std::size_t slot = 0; slot < places_.size(); ++slot) {
                asked[slot] = places_[slot] >= n_places || free(slot);  // not to be seated in
            }
            seat(item, asked);
        }
    }
}

bool ArrangeSlots::seat(std::size_t item, std::vector<std::uint8_t>& asked) {
    for (std::size_t slot = 0; slot < places_.size(); ++slot) {
        if (asked[slot] != 0 || !fits(slot, item)) continue;
        asked[slot] = 1;
        if (item_of_[slot] == NONE || seat(item_of_[slot], asked)) {
            item_of_[slot] = item;
            return true;
        }
    }
    return false;
}

}  // namespace karec
