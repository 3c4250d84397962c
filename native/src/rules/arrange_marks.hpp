// The marks of one rule of arrange: what each item leaves and looks for, and where marks stand so far.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/arrange.hpp"

namespace karec {

// Marks are numbered 0 …; a look that can never find more than is allowed and a mark that no other item looks for are
// dropped, so that items which differ by those alone are the same to a search.
class ArrangeMarks {
  public:
    static constexpr std::size_t NONE = static_cast<std::size_t>(-1);

    ArrangeMarks(const ArrangeRule& rule, std::size_t n_places);

    std::size_t puts(std::size_t item) const noexcept { return puts_[item]; }
    std::size_t looks(std::size_t item) const noexcept { return looks_[item]; }

    // How many marks more than allowed the item would find at `place`. O(found).
    std::size_t excess_at(std::size_t place, std::size_t item) const noexcept {
        if (looks_[item] == NONE) return 0;
        const std::vector<std::size_t>& places = places_[looks_[item]];
        std::size_t found = 0;
        for (auto at = places.rbegin(); at != places.rend() && *at + window_ > place + n_shown_; ++at) ++found;
        return found > allowed_ ? found - allowed_ : 0;
    }

    void put(std::size_t place, std::size_t item) {
        if (puts_[item] != NONE) places_[puts_[item]].push_back(place + n_shown_);
    }

    void take_back(std::size_t item) noexcept {
        if (puts_[item] != NONE) places_[puts_[item]].pop_back();
    }

  private:
    std::size_t window_;
    std::size_t allowed_;
    std::size_t n_shown_;
    std::vector<std::size_t> puts_;                 // item → mark
    std::vector<std::size_t> looks_;                // item → mark
    std::vector<std::vector<std::size_t>> places_;  // mark → its places in order, counted from the first shown
};

}  // namespace karec
