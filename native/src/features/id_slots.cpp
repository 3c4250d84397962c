#include "features/id_slots.hpp"

#include <algorithm>
#include <limits>
#include <random>
#include <string>

namespace karec {
namespace {

constexpr std::uint64_t kMostSteps = 64;  // from its home to its slot, an id's on average; some 0.5 is usual
constexpr int kMultipliers = 16;          // that are tried; the last one may take any number of steps

std::uint64_t drawn_multiplier() {
    std::random_device random;
    return (static_cast<std::uint64_t>(random()) << 32 | random()) | 1;
}

}  // namespace

Result<IdSlots> IdSlots::of(std::span<const std::byte> ids) {
    IdSlots table;
    table.ids_ = ids.data();
    table.n_ = ids.size() / sizeof(std::int64_t);
    if (table.n_ >= std::size_t{1} << 30) {
        return Status::invalid("fewer than 2^30 ids fit, got " + std::to_string(table.n_));
    }
    while ((std::size_t{1} << table.bits_) < 2 * table.n_) ++table.bits_;
    for (int tried = 0;; ++tried) {
        const bool last = tried == kMultipliers - 1;
        const auto placed =
            table.place(last ? std::numeric_limits<std::uint64_t>::max() : kMostSteps * (table.n_ + 64));
        if (!placed.ok()) return placed.status();
        if (placed.value()) return table;
        table.multiplier_ = drawn_multiplier();
    }
}

// Whether all ids are in their slots; false where they take more than `most_steps`.
Result<bool> IdSlots::place(std::uint64_t most_steps) {
    slots_.assign(std::size_t{1} << bits_, -1);
    const std::uint64_t mask = slots_.size() - 1;
    std::uint64_t steps = 0;
    for (std::size_t i = 0; i < n_; ++i) {
        const std::int64_t id = id_at(i);
        const std::uint64_t slot = slot_of(id);
        if (slots_[slot] >= 0) return Status::invalid("ids must be unique, " + std::to_string(id) + " stands twice");
        slots_[slot] = static_cast<std::int32_t>(i);
        steps += (slot - home_of(id)) & mask;
        if (steps > most_steps) return false;
    }
    return true;
}

}  // namespace karec
