// The values that a comparison selects, as intervals of the column's type.
//
// Every comparison is a union of closed intervals: x < v is [lowest, the value before v], and "not in" is the gaps
// between the values. A loop over rows then needs one operation for all types and comparisons. NaN is in no interval.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

#include "filter/program.hpp"

namespace karec {

// 128 bits: the values before the lowest and after the highest integer of 64 bits do not overflow.
__extension__ using WideInteger = __int128;

template <class T>
using IntervalBound = std::conditional_t<std::is_integral_v<T>, WideInteger, T>;

template <class T>
struct Interval {
    IntervalBound<T> low;
    IntervalBound<T> high;
};

template <class T>
IntervalBound<T> lowest_value() noexcept {
    if constexpr (std::is_integral_v<T>)
        return std::numeric_limits<T>::min();
    else
        return -std::numeric_limits<IntervalBound<T>>::infinity();
}
template <class T>
IntervalBound<T> highest_value() noexcept {
    if constexpr (std::is_integral_v<T>)
        return std::numeric_limits<T>::max();
    else
        return std::numeric_limits<IntervalBound<T>>::infinity();
}

template <class T>
IntervalBound<T> next_value(IntervalBound<T> x) noexcept {
    if constexpr (std::is_integral_v<T>)
        return x + 1;
    else
        return std::nextafter(x, highest_value<T>());
}
template <class T>
IntervalBound<T> previous_value(IntervalBound<T> x) noexcept {
    if constexpr (std::is_integral_v<T>)
        return x - 1;
    else
        return std::nextafter(x, lowest_value<T>());
}

// The values that are not missing.
template <class T>
Interval<T> present_values(bool is_category) noexcept {
    return {is_category ? std::max(lowest_value<T>(), IntervalBound<T>{0}) : lowest_value<T>(), highest_value<T>()};
}

// The gaps between ordered intervals that are inside `all`.
template <class T>
std::vector<Interval<T>> complement(const std::vector<Interval<T>>& intervals, const Interval<T>& all) {
    std::vector<Interval<T>> gaps;
    IntervalBound<T> first = all.low;
    for (const Interval<T>& interval : intervals) {
        if (first < interval.low) gaps.push_back({first, previous_value<T>(interval.low)});
        if (interval.high == all.high) return gaps;
        first = next_value<T>(interval.high);
    }
    gaps.push_back({first, all.high});
    return gaps;
}

// The intervals of a comparison with these values, ordered and apart. is_missing: the values that are not missing.
template <class T>
std::vector<Interval<T>> to_intervals(const FilterStep& step, const std::vector<IntervalBound<T>>& values) {
    const Interval<T> present = present_values<T>(step.is_category);
    std::vector<Interval<T>> named;
    switch (step.op) {
        case FilterOp::in:
            for (const IntervalBound<T> value : values) named.push_back({value, value});
            break;
        case FilterOp::less:
            if (values[0] > present.low) named.push_back({present.low, previous_value<T>(values[0])});
            break;
        case FilterOp::at_least:
            named.push_back({values[0], present.high});
            break;
        case FilterOp::between:
            named.push_back({values[0], values[1]});
            break;
        default:
            return {present};
    }
    std::ranges::sort(named, {}, &Interval<T>::low);
    std::vector<Interval<T>> merged;
    for (Interval<T> interval : named) {
        interval = {std::max(interval.low, present.low), std::min(interval.high, present.high)};
        if (interval.low > interval.high) continue;
        if (merged.empty() || interval.low > next_value<T>(merged.back().high)) {
            merged.push_back(interval);
        } else {
            merged.back().high = std::max(merged.back().high, interval.high);
        }
    }
    return step.is_wanted ? merged : complement<T>(merged, present);
}

}  // namespace karec
