// Arranges a list by hard rules: items that must not be near each other, and slots reserved for some items.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

// Limits how often the label that an item conflicts with occurs in the window before the item: its position and the
// window − 1 positions before it. With conflicts = labels, at most max_conflicts + 1 items of one label are among
// `window` neighbours.
struct ArrangeRule {
    std::span<const std::int64_t> labels;     // (n,) label of each item; < 0 = none
    std::span<const std::int64_t> conflicts;  // (n,) label that each item conflicts with; < 0 = none
    // (m,) labels of the items that the user saw before the list, oldest first; < 0 = none. Windows include them.
    std::span<const std::int64_t> shown;
    std::size_t window = 2;         // ≥ 2; SIZE_MAX = the whole session
    std::size_t max_conflicts = 0;  // allowed in a window
};

// A position that is reserved for some items, or stays empty.
struct ArrangeSlot {
    std::size_t position = 0;
    std::span<const std::uint8_t> members;  // (n,) not 0 = the item may be at the position; not read if is_empty
    bool is_empty = false;
};

// The item at `position` has `excess` conflicts more than `rule` allows. With R rules, `rule` ≥ R means that slot
// `rule` − R has no member.
struct ArrangeViolation {
    std::size_t position = 0;
    std::size_t rule = 0;
    std::size_t excess = 0;
};

// Arranges items 0 … n − 1, best first, at k = indices.size() positions. −1 marks an empty slot, and each position
// after the last item if there are fewer items than positions.
//
// The result has the fewest unmet slots, then the smallest excess of the first rule, then of the second, and so on;
// rules from the kArrangeRanks-th on count together. Ties are decided position by position: the earliest item is first,
// and at a slot all members precede other items. is_slot_only is (n,) or empty: an item that is not 0 may only be in
// slots.
//
// Returns false if the search stopped after it tried kMaxArrangeSteps items. Each position then takes the item with the
// least excess in the order of the rules, ties by order; as many slots have a member. `violations` is replaced by the
// broken rules of the list, by position, then rule.
//
// Refuses: n > kMaxArrangeItems, arrays of another length, window < 2, two slots of one position, a slot at a position
// ≥ k. Never throws; reentrant. Do not modify arrays during a call: results become undefined, but no access leaves
// them. O(n·(R + S)·log n) for R rules and S slots, and O(k·R) for a list that seldom breaks a rule. O(k) if no array
// has n entries.
inline constexpr std::size_t kMaxArrangeSteps = 20'000;
inline constexpr std::size_t kArrangeRanks = 8;
inline constexpr std::size_t kMaxArrangeItems = (std::size_t{1} << 31) - 1;  // an index has no more rows

KAREC_API Result<bool> arrange(std::size_t n, std::span<const ArrangeRule> rules, std::span<const ArrangeSlot> slots,
                               std::span<const std::uint8_t> is_slot_only, std::span<std::int64_t> indices,
                               std::vector<ArrangeViolation>& violations) noexcept;

}  // namespace karec
