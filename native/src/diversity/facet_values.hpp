// Which rows of a selection have one value of a facet. Rows are the items, then what was shown.
//
// A value gets a slot when the first row that has it is counted, if another row has it too. Rows are chained by a hash
// of their code: O(F·rows) to build, and one chain for each value that gets a slot.
//
// Invariants:
//   - All rows of one value have the same slot; slots are numbered in the order in which values are counted.
//   - kAlone: the value was counted, and no other row has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/scratch.hpp"
#include "diversity/facets.hpp"

namespace karec {

struct SlotOfRow {
    std::uint32_t row;
    std::uint32_t slot;
};

class FacetValues {
  public:
    static constexpr std::uint32_t kNoValue = std::numeric_limits<std::uint32_t>::max();  // the row has none
    static constexpr std::uint32_t kAlone = kNoValue - 1;
    static constexpr std::uint32_t kNotCounted = kNoValue - 2;
    static constexpr bool is_slot(std::uint32_t found) noexcept { return found < kNotCounted; }

    explicit FacetValues(const Facets& facets);  // which must outlive it

    std::uint32_t slot(std::size_t facet, std::size_t row) const noexcept { return slots_[facet * n_rows_ + row]; }

    // Counts a value that is not counted: `slot` for all its rows, which are put behind `joined`; or kAlone.
    std::uint32_t count(std::size_t facet, std::size_t row, std::uint32_t slot, std::vector<SlotOfRow>& joined);

    // How many items have a value of the facet that is counted.
    std::size_t n_counted(std::size_t facet) const noexcept { return n_counted_[facet]; }

  private:
    std::size_t bucket(std::size_t facet, std::int64_t code) const noexcept;

    const Facets& facets_;
    std::size_t n_items_;
    std::size_t n_rows_;
    unsigned shift_ = 63;
    ScratchVector<std::uint32_t> first_;  // (F, buckets) the first row of a chain; kNoValue = none
    ScratchVector<std::uint32_t> next_;   // (F, rows)
    ScratchVector<std::uint32_t> slots_;  // (F, rows)
    std::vector<std::size_t> n_counted_;
};

}  // namespace karec
