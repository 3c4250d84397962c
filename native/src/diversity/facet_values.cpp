#include "diversity/facet_values.hpp"

#include <bit>

namespace karec {

FacetValues::FacetValues(const Facets& facets) : facets_(facets), n_items_(facets.n_items), n_rows_(facets.n_rows) {
    const std::size_t n_facets = facets_.size();
    if (n_facets == 0) return;
    const std::size_t n_buckets = std::bit_ceil(n_rows_ + 2);
    shift_ = static_cast<unsigned>(64 - std::countr_zero(n_buckets));
    first_.assign(n_facets * n_buckets, kNoValue);
    next_.resize(n_facets * n_rows_);
    slots_.assign(n_facets * n_rows_, kNotCounted);
    n_counted_.assign(n_facets, 0);
    for (std::size_t f = 0; f < n_facets; ++f) {
        const std::size_t n_valued = facets_.of_shown[f] ? n_rows_ : n_items_;
        for (std::size_t row = n_rows_; row > n_valued; --row) slots_[f * n_rows_ + row - 1] = kNoValue;
        for (std::size_t row = n_valued; row-- > 0;) {  // backwards, so that chains are ascending
            std::uint32_t& first = first_[bucket(f, facets_.code(f, row))];
            next_[f * n_rows_ + row] = first;
            first = static_cast<std::uint32_t>(row);
        }
    }
}

// Fibonacci hashing (Knuth, TAOCP 3, 6.4).
std::size_t FacetValues::bucket(std::size_t facet, std::int64_t code) const noexcept {
    const std::size_t hash = (static_cast<std::uint64_t>(code) * 0x9E3779B97F4A7C15u) >> shift_;
    return (facet << (64 - shift_)) + hash;
}

std::uint32_t FacetValues::count(std::size_t facet, std::size_t row, std::uint32_t slot,
                                 std::vector<SlotOfRow>& joined) {
    const std::int64_t code = facets_.code(facet, row);
    const std::uint32_t* next = &next_[facet * n_rows_];
    const std::size_t before = joined.size();
    for (std::uint32_t other = first_[bucket(facet, code)]; other != kNoValue; other = next[other]) {
        if (facets_.code(facet, other) == code) joined.push_back({other, slot});
    }
    const bool alone = joined.size() == before + 1;
    for (std::size_t at = before; at < joined.size(); ++at) {
        slots_[facet * n_rows_ + joined[at].row] = alone ? kAlone : slot;
        n_counted_[facet] += joined[at].row < n_items_ ? 1 : 0;
    }
    if (!alone) return slot;
    joined.resize(before);
    return kAlone;
}

}  // namespace karec
