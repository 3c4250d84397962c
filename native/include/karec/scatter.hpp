// Rules on the order of a list: among any `window` neighbours at most `max_count` of one value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/status.hpp"

namespace karec {

struct ScatterRule {
    std::span<const std::int64_t> values;  // (N,) the value of each item of the list, for example its creator
    std::size_t window = 2;                // ≥ 2
    std::size_t max_count = 1;             // ≥ 1, < window
};

// Place `position` of the result holds more than rule `rule` allows: it is item number `count` of its value within
// the window that ends there.
struct ScatterViolation {
    std::size_t position = 0;
    std::size_t rule = 0;
    std::size_t count = 0;
};

// Reorders n items greedily: each place takes the first remaining item, in the list's order, that breaks no rule; where
// every remaining item breaks one, the item whose excess (Σ over rules of count − max_count) is least, ties by order.
// `indices` (n) is filled with a permutation of 0 … n − 1: nothing is lost, nothing stands twice.
// `violations` is replaced by what could not be kept, by position, then rule. Never throws; reentrant.
// Refuses: values of another length, window < 2, max_count outside [1, window). O(n·R) for a list that seldom breaks a
// rule, O(n²·R) at worst.
Status scatter(std::size_t n, std::span<const ScatterRule> rules, std::span<std::int64_t> indices,
               std::vector<ScatterViolation>& violations) noexcept;

}  // namespace karec
