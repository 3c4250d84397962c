// Slots of the facet values that rows of a selection share. Rows are the items, then those that were shown.
//
// A value gets a slot when its first row is added, if another row has the value too. Chains of rows by a hash of their
// code find these rows.
//
// Cost: O(F·rows) to build, and one chain for each value that gets a slot; 12 bytes for each facet and row.
//
// Invariants
//   - All rows of one value have the same slot; slots are numbered in the order in which values are added.
//   - kUnshared: the value was added, and no other row has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/scratch.hpp"
#include "diversity/feature_rows.hpp"

namespace karec {

struct SlotRow {
    std::uint32_t row;
    std::uint32_t slot;
};

class FacetSlots {
  public:
    static constexpr std::uint32_t kNoValue = std::numeric_limits<std::uint32_t>::max();  // a shown row without codes
    static constexpr std::uint32_t kUnshared = kNoValue - 1;
    static constexpr std::uint32_t kNotAdded = kNoValue - 2;
    static constexpr bool is_slot(std::uint32_t slot) noexcept { return slot < kNotAdded; }

    explicit FacetSlots(const FeatureRows& rows);  // which must outlive it

    std::uint32_t slot(std::size_t facet, std::size_t row) const noexcept { return slots_[facet * n_rows_ + row]; }

    // Adds the row's value, which was not added before, and returns kUnshared or `slot`. In the second case all rows of
    // the value get the slot and are appended to `slot_rows`.
    std::uint32_t add(std::size_t facet, std::size_t row, std::uint32_t slot, std::vector<SlotRow>& slot_rows);

    // Items whose value of the facet was added.
    std::size_t n_added(std::size_t facet) const noexcept { return n_added_[facet]; }

  private:
    std::size_t bucket(std::size_t facet, std::int64_t code) const noexcept;

    const Facets& facets_;
    std::size_t n_items_;
    std::size_t n_rows_;
    unsigned shift_ = 63;
    ScratchVector<std::uint32_t> first_;  // (F, buckets) the first row of a chain; kNoValue = none
    ScratchVector<std::uint32_t> next_;   // (F, rows)
    ScratchVector<std::uint32_t> slots_;  // (F, rows)
    std::vector<std::size_t> n_added_;    // (F,)
};

}  // namespace karec
