// A hash table from ids to their places in an array.
//
// Algorithm  multiplicative hashing, open addressing, linear probing; at least twice as many slots as ids. Ids that
// were
//            chosen to meet in one slot are placed again by a multiplier drawn at random, which they cannot know; what
//            is found does not depend on it.
// Cost       expected O(1) a look-up; 8 to 16 bytes an id beside the array.
// Source     D. E. Knuth, The Art of Computer Programming, vol. 3, section 6.4 (Algorithm L; multiplicative hashing).
//            M. Dietzfelbinger, T. Hagerup, J. Katajainen, M. Penttonen, A reliable randomized algorithm for the
//            closest-pair problem, J. Algorithms 25(1), 1997 (random odd multipliers).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "karec/status.hpp"

namespace karec {

class IdSlots {
  public:
    // `ids`, int64 one behind the other at any address, stay the caller's and are read by each look-up. Refuses an id
    // that stands twice, naming it, and 2^30 ids or more. O(n).
    static Result<IdSlots> of(std::span<const std::byte> ids);

    // The place of `id`; −1 where it does not stand in the array.
    std::int32_t find(std::int64_t id) const noexcept { return slots_[slot_of(id)]; }

    std::size_t size() const noexcept { return n_; }

  private:
    std::int64_t id_at(std::size_t place) const noexcept {
        std::int64_t id;
        std::memcpy(&id, ids_ + place * sizeof id, sizeof id);
        return id;
    }
    std::uint64_t home_of(std::int64_t id) const noexcept {
        return (static_cast<std::uint64_t>(id) * multiplier_) >> (64 - bits_);
    }
    // The slot that holds the place of `id`, or the empty one where it belongs.
    std::uint64_t slot_of(std::int64_t id) const noexcept {
        const std::uint64_t mask = slots_.size() - 1;
        std::uint64_t slot = home_of(id);
        while (slots_[slot] >= 0 && id_at(static_cast<std::size_t>(slots_[slot])) != id) slot = (slot + 1) & mask;
        return slot;
    }
    Result<bool> place(std::uint64_t most_steps);

    const std::byte* ids_ = nullptr;
    std::size_t n_ = 0;
    std::vector<std::int32_t> slots_{-1, -1};
    int bits_ = 1;
    std::uint64_t multiplier_ = 0x9E3779B97F4A7C15;  // 2^64 / the golden ratio
};

}  // namespace karec
