// How many of each type a selection may and must still take.
#pragma once

#include <cstddef>
#include <cstdint>
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

    // Whether `n_places` are no more than what is owed: then only those types may be taken, to the end.
    bool forced(std::size_t n_places) const noexcept { return n_owed_ > 0 && n_owed_ >= n_places; }

    bool allows(std::size_t item, std::size_t n_places) const noexcept {
        if (type_of_.empty()) return true;
        const auto type = static_cast<std::size_t>(type_of_[item]);
        if (most_ && taken_[type] >= *most_) return false;
        return !forced(n_places) || owed_[type] > 0;
    }

  private:
    std::span<const std::int32_t> type_of_;
    std::optional<std::size_t> most_;
    std::vector<std::size_t> taken_;
    std::vector<std::size_t> owed_;
    std::size_t n_owed_ = 0;
};

}  // namespace karec
