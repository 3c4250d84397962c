// A list arranged under rules: who may stand at which place, and what may not stand near what.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

// An item leaves a mark at its place, and looks for a mark in the window before it. The same marks for both: of one
// value at most allowed + 1 among `window` neighbours. Others: works of two kinds that do not stand near each other.
struct ArrangeRule {
    std::span<const std::int64_t> puts;   // (n,) the mark that each item leaves; < 0 = none
    std::span<const std::int64_t> looks;  // (n,) the mark that it looks for; < 0 = none
    std::span<const std::int64_t>
        shown;                // (m,) marks of what the session saw before the list, oldest first; < 0 = none
    std::size_t window = 2;   // ≥ 2; SIZE_MAX = the whole session
    std::size_t allowed = 0;  // so many marks in the window are no violation
};

// A place that belongs to some items; a `free` one to none, it is left empty.
struct ArrangeSlot {
    std::size_t place = 0;
    std::span<const std::uint8_t> fits;  // (n,) not 0 = fits the place; not read if the slot is free
    bool free = false;
};

// The item at `place` finds `excess` marks of `rule` more than are allowed. rule ≥ R, the number of rules: the slot
// rule − R has no item that fits.
struct ArrangeViolation {
    std::size_t place = 0;
    std::size_t rule = 0;
    std::size_t excess = 0;
};

// Fills k = indices.size() places of a list of n items, best first, with distinct items 0 … n − 1; −1 is a free place.
//
// Of all lists it takes one in which the fewest slots are unmet, of those the one with the least excess, of those the
// first: place by place the earliest item, at a slot one that fits before all others. `only (n,)`, or empty: items that
// are not 0 stand in slots that they fit, and nowhere else. Where there are fewer items than places the list ends
// early, with −1.
//
// The search is an iterative deepening on the excess, over items that differ by their marks. Whether it was whole is
// returned. After ARRANGE_LOOKS items looked at it is given up, and greedy answers: each place takes the item of least
// excess, ties by order; as many slots are met.
// `violations` is replaced by what could not be kept, by place, then rule.
//
// Values must not change until it returns: else the result is void, though no memory outside the arrays is touched.
// Refuses: n > ARRANGE_MAX_ITEMS, arrays of another length, window < 2, two slots of one place, a slot at a place ≥ k.
// Never throws; reentrant. O(n·(R + S)·log n) for R rules and S slots, then O(k·R) for a list that seldom breaks a
// rule. O(k) if no array has n entries.
inline constexpr std::size_t ARRANGE_LOOKS = 20'000;
inline constexpr std::size_t ARRANGE_MAX_ITEMS = (std::size_t{1} << 31) - 1;  // as many as an index can have rows

KAREC_API Result<bool> arrange(std::size_t n, std::span<const ArrangeRule> rules, std::span<const ArrangeSlot> slots,
                               std::span<const std::uint8_t> only, std::span<std::int64_t> indices,
                               std::vector<ArrangeViolation>& violations) noexcept;

}  // namespace karec
