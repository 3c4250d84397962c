#include "index/id_lookup.hpp"

#include <algorithm>

namespace karec {

IdLookup::IdLookup(const IdMap& map, std::span<const std::int64_t> ids, std::size_t most) noexcept
    : map_(map),
      pages_(map.buckets().pages()),
      n_buckets_(map.buckets().size()),
      find_ids_(kernels().find_ids),
      ids_(ids),
      most_(std::min(most, n_buckets_)) {
    for (std::size_t i = 0; i < std::min(kBlock, ids.size()); ++i) {
        homes_[i] = pages_.at(home_bucket(ids[i], n_buckets_));
        __builtin_prefetch(homes_[i], 0, 2);
    }
}

std::size_t IdLookup::next(std::int32_t* rows) noexcept {
    const std::size_t n = std::min(kBlock, ids_.size() - at_);
    const std::size_t n_next = std::min(kBlock, ids_.size() - at_ - n);
    const std::int64_t* ids = ids_.data() + at_;
    std::uint32_t displaced[kBlock];
    finish(ids, displaced, find_ids_(pages_, n_buckets_, ids, n, ids + n, n_next, homes_.data(), rows, displaced),
           rows);
    at_ += n;
    return n;
}

void IdLookup::finish(const std::int64_t* ids, const std::uint32_t* displaced, std::size_t n,
                      std::int32_t* rows) noexcept {
    if (n == 0 || most_ < 2) return;
    // Nearly all are in the next bucket.
    std::int64_t wanted[kBlock];
    const IdBucket* second[kBlock];
    std::int32_t found[kBlock];
    std::uint32_t farther[kBlock];
    for (std::size_t d = 0; d < n; ++d) {
        wanted[d] = ids[displaced[d]];
        second[d] = pages_.at(map_.after(home_bucket(wanted[d], n_buckets_)));
    }
    const std::size_t n_farther = find_ids_(pages_, n_buckets_, wanted, n, nullptr, 0, second, found, farther);
    for (std::size_t f = 0; f < n_farther; ++f) {
        const std::int64_t id = wanted[farther[f]];
        const std::size_t third = map_.after(map_.after(home_bucket(id, n_buckets_)));
        found[farther[f]] = map_.find_from(id, third, most_ - 2);
    }
    for (std::size_t d = 0; d < n; ++d) rows[displaced[d]] = found[d];
}

}  // namespace karec
