// The best items of each group.
//
// Algorithm  A hash table of items, linear probing, gives each item the first one of its group, and groups are counted.
//            A counting sort groups the items of groups above the quota, and std::nth_element selects the best of each.
//            If values collide on purpose, a sort finds the groups.
// Cost       O(N) expected, O(N log N) at worst; 21 bytes an item.
// Source     D. E. Knuth, The Art of Computer Programming, vol. 3, sections 6.4 (Algorithm L) and 5.2 (counting).
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/scratch.hpp"
#include "index/index_checks.hpp"
#include "karec/freshness.hpp"
#include "rules/column_values.hpp"

namespace karec {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kMaxSteps = 16;  // from an item's own slot, on average; random values need half a step

// Equal values have equal bits: −0 becomes 0.
template <class T>
std::uint64_t bits_of(T value) noexcept {
    if constexpr (std::is_floating_point_v<T>) {
        return std::bit_cast<std::uint64_t>(static_cast<double>(value) + 0.0);
    } else {
        return static_cast<std::uint64_t>(value);
    }
}

// first[i] = the first item of the group of i; a NaN is a group of its own. Returns false, with `first` undefined, if
// slots are crowded.
template <class T>
bool find_first(std::span<const T> group, std::span<std::uint32_t> first) {
    const auto bits = static_cast<int>(std::bit_width(std::max<std::size_t>(2 * group.size(), 2) - 1));
    const std::size_t mask = (std::size_t{1} << bits) - 1;
    ScratchVector<std::uint32_t> slots(mask + 1, kNone);
    std::size_t n_steps_left = kMaxSteps * (group.size() + 64);
    for (std::size_t i = 0; i < group.size(); ++i) {
        first[i] = static_cast<std::uint32_t>(i);
        if (is_nan(group[i])) continue;
        std::size_t slot = (bits_of(group[i]) * 0x9E3779B97F4A7C15U) >> (64 - bits);  // 2^64 / the golden ratio
        while (slots[slot] != kNone && group[slots[slot]] != group[i]) {
            slot = (slot + 1) & mask;
            if (n_steps_left-- == 0) return false;
        }
        if (slots[slot] == kNone) slots[slot] = static_cast<std::uint32_t>(i);
        first[i] = slots[slot];
    }
    return true;
}

template <class T>
void find_first_by_sorting(std::span<const T> group, std::span<std::uint32_t> first) {
    ScratchVector<std::uint32_t> order;
    for (std::size_t i = 0; i < group.size(); ++i) {
        first[i] = static_cast<std::uint32_t>(i);
        if (!is_nan(group[i])) order.push_back(static_cast<std::uint32_t>(i));
    }
    std::ranges::sort(
        order, [&](std::uint32_t a, std::uint32_t b) { return group[a] != group[b] ? group[a] < group[b] : a < b; });
    for (std::size_t i = 1; i < order.size(); ++i) {
        if (group[order[i]] == group[order[i - 1]]) first[order[i]] = first[order[i - 1]];
    }
}

// mask[i] = 0 for items that are not among the at_most best of their group.
void cut_groups(std::span<const std::uint32_t> first, std::span<const float> scores, std::size_t at_most,
                std::span<std::uint8_t> mask) {
    // At the first item of each group: its size, then the end of its items, kNone if none is cut.
    ScratchVector<std::uint32_t> ends(first.size(), 0);
    for (const std::uint32_t group : first) ++ends[group];
    std::uint32_t n = 0;
    for (std::uint32_t& end : ends) {
        const std::uint32_t size = end;
        end = size > at_most ? n : kNone;
        if (size > at_most) n += size;
    }
    ScratchVector<std::uint32_t> items(n);
    for (std::size_t i = 0; i < first.size(); ++i) {
        if (ends[first[i]] != kNone) items[ends[first[i]]++] = static_cast<std::uint32_t>(i);
    }
    const auto better = [&](std::uint32_t a, std::uint32_t b) {
        return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    };
    for (std::size_t begin = 0; begin < items.size();) {
        const std::size_t end = ends[first[items[begin]]];
        const auto at = [&](std::size_t place) { return items.begin() + static_cast<std::ptrdiff_t>(place); };
        std::nth_element(at(begin), at(begin + at_most), at(end), better);
        for (std::size_t i = begin + at_most; i < end; ++i) mask[items[i]] = 0;
        begin = end;
    }
}

}  // namespace

Status quota(std::span<const float> scores, const Column& groups, std::size_t at_most,
             std::span<std::uint8_t> mask) noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_column(groups, scores.size()); !status.ok()) return status;
        if (Status status = check_lengths("scores", scores.size(), "mask", mask.size()); !status.ok()) return status;
        if (scores.size() > std::numeric_limits<std::uint32_t>::max()) {
            return Status::invalid("a quota takes at most 2^32 − 1 items, got " + std::to_string(scores.size()));
        }
        // Copies: values that are read twice do not change.
        const ScratchVector<float> copied_scores(scores.begin(), scores.end());
        if (Status status = check_finite(copied_scores, "scores"); !status.ok()) return status;
        if (at_most == 0) return Status::invalid("at_most must be positive, got 0");
        std::ranges::fill(mask, std::uint8_t{1});
        with_type(groups.dtype, [&]<class T>(T) {
            ScratchVector<T> group(scores.size());
            for (std::size_t i = 0; i < group.size(); ++i) group[i] = value_at<T>(groups, i);
            ScratchVector<std::uint32_t> first(group.size());
            if (!find_first<T>(group, first)) find_first_by_sorting<T>(group, first);
            cut_groups(first, copied_scores, at_most, mask);
        });
        return {};
    });
}

}  // namespace karec
