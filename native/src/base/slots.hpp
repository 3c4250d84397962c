// IdSlots is a hash table from ids to their positions in an array.
//
// Algorithm  multiplicative hashing, open addressing, linear probing; at least twice as many slots as ids. Ids that
//            were chosen to collide are placed again under a multiplier that their author cannot know. Results do not
//            depend on it. Quotas and crosses have tables of their own: their values repeat, so they count equal
//            values instead of refusing them.
// Cost       expected O(1) per lookup; 8 to 16 bytes per id, without the array.
// Source     D. E. Knuth, The Art of Computer Programming, vol. 3, section 6.4 (Algorithm L; multiplicative hashing).
//            M. Dietzfelbinger, T. Hagerup, J. Katajainen, M. Penttonen, A reliable randomized algorithm for the
//            closest-pair problem, J. Algorithms 25(1), 1997 (random odd multipliers).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "karec/status.hpp"

namespace karec {

// Never changes: any number of threads may look up. The ids belong to the caller, outlive the table and do not change.
class IdSlots {
  public:
    // `ids`: int64, contiguous, at any address. invalid_argument: a repeated id, or 2^30 ids or more. Expected O(n).
    static Result<IdSlots> from_ids(std::span<const std::byte> ids) {
        IdSlots table;
        table.ids_ = ids.data();
        table.n_ = ids.size() / sizeof(std::int64_t);
        if (table.n_ >= std::size_t{1} << 30) {
            return Status::invalid("got " + std::to_string(table.n_) + " ids, expected fewer than 2^30");
        }
        while ((std::size_t{1} << table.bits_) < 2 * table.n_) ++table.bits_;
        for (int attempt = 1;; ++attempt) {
            const std::uint64_t max_steps = attempt < kMaxAttempts ? kMaxMeanSteps * (table.n_ + 64) : UINT64_MAX;
            const auto is_placed = table.place_ids(max_steps);
            if (!is_placed.ok()) return is_placed.status();
            if (is_placed.value()) return table;
            table.multiplier_ = next_multiplier(table.multiplier_);
        }
    }

    // The position of `id`, or −1.
    std::int32_t find(std::int64_t id) const noexcept { return slots_[find_slot(id)]; }

    std::size_t size() const noexcept { return n_; }

  private:
    static constexpr std::uint64_t kMaxMeanSteps = 64;  // from an id's home to its slot; about 0.5 is usual
    static constexpr int kMaxAttempts = 16;             // the last one may take any number of steps

    // An odd multiplier, which the author of the ids could not know.
    static std::uint64_t next_multiplier(std::uint64_t multiplier) noexcept {
        const auto now = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
        std::uint64_t bits = multiplier ^ now ^ reinterpret_cast<std::uintptr_t>(&now) << 32;
        bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9u;
        bits = (bits ^ bits >> 27) * 0x94D049BB133111EBu;
        return (bits ^ bits >> 31) | 1;
    }

    // Returns false if the ids take more than `max_steps` steps from their homes to their slots.
    Result<bool> place_ids(std::uint64_t max_steps) {
        slots_.assign(std::size_t{1} << bits_, -1);
        std::uint64_t n_steps = 0;
        for (std::size_t i = 0; i < n_; ++i) {
            const std::int64_t id = read_id(i);
            const std::uint64_t slot = find_slot(id);
            if (slots_[slot] >= 0)
                return Status::invalid("ids must be unique, " + std::to_string(id) + " appears twice");
            slots_[slot] = static_cast<std::int32_t>(i);
            n_steps += (slot - home_slot(id)) & (slots_.size() - 1);
            if (n_steps > max_steps) return false;
        }
        return true;
    }

    std::int64_t read_id(std::size_t position) const noexcept {
        std::int64_t id;
        std::memcpy(&id, ids_ + position * sizeof id, sizeof id);
        return id;
    }

    std::uint64_t home_slot(std::int64_t id) const noexcept {
        return (static_cast<std::uint64_t>(id) * multiplier_) >> (64 - bits_);
    }

    // The slot that has the position of `id`, or the empty one for it.
    std::uint64_t find_slot(std::int64_t id) const noexcept {
        const std::uint64_t mask = slots_.size() - 1;
        std::uint64_t slot = home_slot(id);
        while (slots_[slot] >= 0 && read_id(static_cast<std::size_t>(slots_[slot])) != id) slot = (slot + 1) & mask;
        return slot;
    }

    const std::byte* ids_ = nullptr;
    std::size_t n_ = 0;
    std::vector<std::int32_t> slots_{-1, -1};
    int bits_ = 1;
    std::uint64_t multiplier_ = 0x9E3779B97F4A7C15;  // 2^64 / the golden ratio
};

}  // namespace karec
