#include "diversity/facet_slots.hpp"

#include <bit>

namespace karec {

FacetSlots::FacetSlots(const FeatureRows& rows)
    : facets_(rows.facets), n_items_(rows.n_items()), n_rows_(rows.n_rows()) {
    const std::size_t n_facets = facets_.size();
    if (n_facets == 0) return;
    const std::size_t n_buckets = std::bit_ceil(n_rows_ + 2);
    shift_ = static_cast<unsigned>(64 - std::countr_zero(n_buckets));
    first_.assign(n_facets * n_buckets, kNoValue);
    next_.resize(n_facets * n_rows_);
    slots_.assign(n_facets * n_rows_, kNotAdded);
    n_added_.assign(n_facets, 0);
    for (std::size_t f = 0; f < n_facets; ++f) {
        const std::size_t n_with_value = facets_.has_shown[f] ? n_rows_ : n_items_;
        for (std::size_t row = n_rows_; row > n_with_value; --row) slots_[f * n_rows_ + row - 1] = kNoValue;
        for (std::size_t row = n_with_value; row-- > 0;) {  // backwards, so that chains are ascending
            std::uint32_t& first = first_[bucket(f, facets_.code(f, row))];
            next_[f * n_rows_ + row] = first;
            first = static_cast<std::uint32_t>(row);
        }
    }
}

// Fibonacci hashing (Knuth, TAOCP 3, 6.4).
std::size_t FacetSlots::bucket(std::size_t facet, std::int64_t code) const noexcept {
    const std::size_t hash = (static_cast<std::uint64_t>(code) * 0x9E3779B97F4A7C15u) >> shift_;
    return (facet << (64 - shift_)) + hash;
}

std::uint32_t FacetSlots::add(std::size_t facet, std::size_t row, std::uint32_t slot, std::vector<SlotRow>& slot_rows) {
    const std::int64_t code = facets_.code(facet, row);
    const std::uint32_t* next = &next_[facet * n_rows_];
    const std::size_t begin = slot_rows.size();
    for (std::uint32_t other = first_[bucket(facet, code)]; other != kNoValue; other = next[other]) {
        if (facets_.code(facet, other) == code) slot_rows.push_back({other, slot});
    }
    const bool is_unshared = slot_rows.size() == begin + 1;
    for (std::size_t i = begin; i < slot_rows.size(); ++i) {
        slots_[facet * n_rows_ + slot_rows[i].row] = is_unshared ? kUnshared : slot;
        n_added_[facet] += slot_rows[i].row < n_items_ ? 1 : 0;
    }
    if (!is_unshared) return slot;
    slot_rows.resize(begin);
    return kUnshared;
}

}  // namespace karec
