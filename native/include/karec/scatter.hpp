// Rules on the order of a list: among any `window` neighbours at most `max_count` of one value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

struct ScatterRule {
    std::span<const std::int64_t> values;  // (n,) the value of each item of the list, for example its creator
    std::size_t window = 2;                // ≥ 2; SIZE_MAX = the whole session
    std::size_t max_count = 1;             // ≥ 1, < window
    std::span<const std::int64_t> shown;   // (m,) values of what the session saw before the list, oldest first
};

// Place `position` of the result holds more than rule `rule` allows: its item is number `count` of its value within
// the window that ends there, which reaches back into what was shown.
struct ScatterViolation {
    std::size_t position = 0;
    std::size_t rule = 0;
    std::size_t count = 0;
};

// Fills the first k = indices.size() ≤ n places of a list of n items, best first, with distinct items 0 … n − 1.
//
// Each place takes the first remaining item that breaks no rule. Where every remaining item breaks one, it takes the
// one with the least excess (Σ over rules of count − max_count), ties by order. A value that is left so often that
// skipping it once more would not fit it into the places that follow goes first (window 2, max_count 1, one rule: no
// order violates it less often; with more rules or wider windows each value is looked at alone).
// `violations` is replaced by what could not be kept, by position, then rule.
//
// Values must not change until it returns: else the result is void, though no memory outside the arrays is touched.
// Refuses: values of another length, k > n, window < 2, max_count outside [1, window). Never throws; reentrant.
// O(n·R) for a list that seldom breaks one of its R rules, O(n·k·R) at worst.
KAREC_API Status scatter(std::size_t n, std::span<const ScatterRule> rules, std::span<std::int64_t> indices,
                         std::vector<ScatterViolation>& violations) noexcept;

}  // namespace karec
