// Slots of arrange: which of them can be met together, by whom, and how long the list can be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/arrange.hpp"

namespace karec {

// A largest matching of slots and items; of those, one that uses the most items of `only`. Kuhn's algorithm from the
// items' side, items of `only` first: O(n·S²).
class ArrangeSlots {
  public:
    static constexpr std::size_t NONE = static_cast<std::size_t>(-1);

    ArrangeSlots(std::size_t n, std::span<const ArrangeSlot> slots, std::span<const std::uint8_t> only, std::size_t k);

    std::size_t n_places() const noexcept { return n_places_; }              // ≤ k: all of them can be filled
    std::size_t n_unmet() const noexcept { return n_unmet_; }                // of the slots within n_places
    std::size_t at(std::size_t place) const noexcept { return at_[place]; }  // the place's slot, or NONE
    bool free(std::size_t slot) const noexcept { return free_[slot] != 0; }
    bool fits(std::size_t slot, std::size_t item) const noexcept { return fits_[slot][item] != 0; }
    bool only(std::size_t item) const noexcept { return !only_.empty() && only_[item] != 0; }
    std::size_t item_of(std::size_t slot) const noexcept { return item_of_[slot]; }  // NONE: it is unmet

  private:
    void match(std::size_t n_places);
    bool seat(std::size_t item, std::vector<std::uint8_t>& asked);

    std::size_t n_;
    std::vector<std::size_t> places_;              // slot → its place
    std::vector<std::uint8_t> free_;               // slot → whether it is left empty
    std::vector<std::vector<std::uint8_t>> fits_;  // slot → item → whether it fits
    std::vector<std::uint8_t> only_;
    std::vector<std::size_t> at_;
    std::vector<std::size_t> item_of_;
    std::size_t n_places_ = 0;
    std::size_t n_unmet_ = 0;
};

}  // namespace karec
