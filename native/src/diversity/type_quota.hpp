// How many items of each type a selection may still take (max_per_type), and must still take (min_per_type).
//
// Invariants:
//   - owed_[t] = what is missing of min(least, items of type t); n_owed_ = Σ owed_.
//   - items_ holds the items of type 0, then those of type 1, …; those of type t end before ends_[t]. Empty without
//     quotas.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

namespace karec {

class TypeQuota {
  public:
    // type_of (N,) codes 0 … n_types − 1; empty = no types, and everything may be taken.
    TypeQuota(std::span<const std::int32_t> type_of, std::size_t n_types, std::optional<std::size_t> most,
              std::size_t least)
        : type_of_(type_of), most_(most), taken_(n_types, 0), owed_(n_types, 0) {
        if (most || least > 0) list_items(n_types);
        for (const std::int32_t type : type_of) {
            std::size_t& owed = owed_[static_cast<std::size_t>(type)];
            if (owed < least) {
                ++owed;
                ++n_owed_;
            }
        }
    }

    void take(std::size_t item) {
        if (type_of_.empty()) return;
        const auto type = static_cast<std::size_t>(type_of_[item]);
        ++taken_[type];
        if (owed_[type] == 0) return;
        --owed_[type];
        --n_owed_;
    }

    // Whether the item's type has as many as it may have; whether it is owed more.
    bool is_full(std::size_t item) const noexcept {
        return most_ && taken_[static_cast<std::size_t>(type_of_[item])] >= *most_;
    }
    bool is_owed(std::size_t item) const noexcept { return owed_[static_cast<std::size_t>(type_of_[item])] > 0; }

    // The items of the item's type; with quotas alone.
    std::span<const std::uint32_t> items_like(std::size_t item) const noexcept {
        const auto type = static_cast<std::size_t>(type_of_[item]);
        const std::size_t first = type == 0 ? 0 : ends_[type - 1];
        return std::span(items_).subspan(first, ends_[type] - first);
    }

    // Whether all of the `n_places` left are owed: then only owed types may be taken, to the end.
    bool forced(std::size_t n_places) const noexcept { return n_owed_ > 0 && n_owed_ >= n_places; }

    bool allows(std::size_t item, std::size_t n_places) const noexcept {
        if (type_of_.empty()) return true;
        const auto type = static_cast<std::size_t>(type_of_[item]);
        if (most_ && taken_[type] >= *most_) return false;
        return !forced(n_places) || owed_[type] > 0;
    }

  private:
    void list_items(std::size_t n_types) {
        ends_.assign(n_types, 0);
        for (const std::int32_t type : type_of_) ++ends_[static_cast<std::size_t>(type)];
        std::exclusive_scan(ends_.begin(), ends_.end(), ends_.begin(), std::uint32_t{0});
        items_.resize(type_of_.size());
        for (std::size_t i = 0; i < type_of_.size(); ++i) {
            items_[ends_[static_cast<std::size_t>(type_of_[i])]++] = static_cast<std::uint32_t>(i);
        }
    }

    std::span<const std::int32_t> type_of_;
    std::optional<std::size_t> most_;
    std::vector<std::size_t> taken_;
    std::vector<std::size_t> owed_;
    std::size_t n_owed_ = 0;
    std::vector<std::uint32_t> items_;
    std::vector<std::uint32_t> ends_;
};

}  // namespace karec
