// Limits of items of one type in a DPP: max_per_type and min_per_type.
//
// Invariants
//   - owed_[t] = how many items type t still misses of min(min_per_type, its items); n_owed_ = Σ owed_.
//   - items_ holds the items of type 0, then those of type 1, …; those of type t end before ends_[t].
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

namespace karec {

class TypeQuota {
  public:
    // types (N,) any codes, read once. Without limits types are not read, and every item is allowed.
    TypeQuota(std::span<const std::int64_t> types, std::optional<std::size_t> max, std::size_t min)
        : is_limited_(max || min > 0), max_(max) {
        if (!is_limited_) return;
        sort_by_type(types);
        n_taken_.assign(ends_.size(), 0);
        owed_.resize(ends_.size());
        for (std::size_t type = 0; type < ends_.size(); ++type) {
            owed_[type] = std::min(min, items_of(type).size());
            n_owed_ += owed_[type];
        }
    }

    bool is_limited() const noexcept { return is_limited_; }

    void take(std::size_t item) {
        if (!is_limited_) return;
        const std::size_t type = type_of_[item];
        ++n_taken_[type];
        if (owed_[type] == 0) return;
        --owed_[type];
        --n_owed_;
    }

    // The next three need limits.
    bool is_full(std::size_t item) const noexcept { return max_ && n_taken_[type_of_[item]] >= *max_; }
    bool is_owed(std::size_t item) const noexcept { return owed_[type_of_[item]] > 0; }
    std::span<const std::uint32_t> items_of_same_type(std::size_t item) const { return items_of(type_of_[item]); }

    // Returns true if all of the positions left are owed: then only items of owed types are allowed, to the end.
    bool is_all_owed(std::size_t n_positions) const noexcept { return n_owed_ > 0 && n_owed_ >= n_positions; }

    bool is_allowed(std::size_t item, std::size_t n_positions) const noexcept {
        if (!is_limited_) return true;
        return !is_full(item) && (!is_all_owed(n_positions) || is_owed(item));
    }

  private:
    std::span<const std::uint32_t> items_of(std::size_t type) const {
        const std::size_t begin = type == 0 ? 0 : ends_[type - 1];
        return std::span(items_).subspan(begin, ends_[type] - begin);
    }

    // Numbers types from 0 on and groups items by type: a stable radix sort (Knuth, TAOCP 3, 5.2.5) over the bytes in
    // which types differ, O(N) for each.
    void sort_by_type(std::span<const std::int64_t> types) {
        struct Typed {
            std::uint64_t type;
            std::uint32_t item;
        };
        constexpr std::size_t kBytes = sizeof(std::int64_t);
        std::vector<Typed> sorted(types.size());
        std::vector<Typed> next(types.size());
        std::array<std::array<std::uint32_t, 256>, kBytes> starts{};
        for (std::size_t i = 0; i < types.size(); ++i) {
            sorted[i] = {static_cast<std::uint64_t>(types[i]), static_cast<std::uint32_t>(i)};
            for (std::size_t byte = 0; byte < kBytes; ++byte) ++starts[byte][sorted[i].type >> (8 * byte) & 0xFF];
        }
        for (std::size_t byte = 0; byte < kBytes && !sorted.empty(); ++byte) {
            auto& start = starts[byte];
            if (start[sorted[0].type >> (8 * byte) & 0xFF] == sorted.size()) continue;
            std::exclusive_scan(start.begin(), start.end(), start.begin(), 0u);
            for (const Typed& typed : sorted) next[start[typed.type >> (8 * byte) & 0xFF]++] = typed;
            sorted.swap(next);
        }
        type_of_.resize(types.size());
        items_.resize(types.size());
        for (std::size_t i = 0; i < sorted.size(); ++i) {
            if (i == 0 || sorted[i].type != sorted[i - 1].type) ends_.push_back(0);
            items_[i] = sorted[i].item;
            type_of_[sorted[i].item] = static_cast<std::uint32_t>(ends_.size() - 1);
            ends_.back() = static_cast<std::uint32_t>(i + 1);
        }
    }

    bool is_limited_;
    std::optional<std::size_t> max_;
    std::vector<std::uint32_t> type_of_;  // by item
    std::vector<std::uint32_t> items_;
    std::vector<std::uint32_t> ends_;   // by type
    std::vector<std::size_t> n_taken_;  // by type
    std::vector<std::size_t> owed_;     // by type
    std::size_t n_owed_ = 0;
};

}  // namespace karec
