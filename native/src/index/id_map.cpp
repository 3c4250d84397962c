#include "index/id_map.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace karec {
namespace {

constexpr std::size_t kPageBytes = std::size_t{64} << 10;
constexpr std::size_t kNone = IdBucket::kSlots;

std::size_t used_slots(const IdBucket& bucket) noexcept {
    return std::min<std::size_t>(bucket.count, IdBucket::kSlots);
}

// The slot of `id`, or kNone. All slots are compared without a branch, as the slot cannot be predicted.
std::size_t find_slot(const IdBucket& bucket, std::int64_t id) noexcept {
    unsigned equal = 0;
    for (unsigned slot = 0; slot < IdBucket::kSlots; ++slot) equal |= unsigned{bucket.keys[slot] == id} << slot;
    return static_cast<std::size_t>(std::countr_zero((equal & ((1u << used_slots(bucket)) - 1)) | 1u << kNone));
}

}  // namespace

std::size_t id_bucket_count(std::size_t n) noexcept {
    return n / 3 + 1;
}

IdMap::IdMap(std::size_t n) : buckets_(1, kPageBytes) {
    buckets_.grow(id_bucket_count(n));
}

void IdMap::map(const std::shared_ptr<const void>& owner, std::span<const IdBucket> buckets) {
    buckets_ = PagedArray<IdBucket>(1, kPageBytes);
    buckets_.map(owner, buckets);
}

std::int32_t IdMap::find_from(std::int64_t id, std::size_t first_bucket, std::size_t max_probes) const noexcept {
    std::size_t b = first_bucket;
    for (std::size_t probes = 0; probes < max_probes; ++probes, b = next_bucket(b)) {
        const IdBucket& bucket = *buckets_.at(b);
        const std::size_t slot = find_slot(bucket, id);
        if (slot != kNone) return bucket.rows[slot];
        if (!bucket.overflowed) break;
    }
    return -1;
}

void IdMap::find(std::span<const std::int64_t> ids, std::int32_t* rows) const noexcept {
    IdLookup lookup(*this, ids);
    while (const std::size_t n = lookup.next(rows)) rows += n;
}

std::int32_t IdMap::put(std::int64_t id, std::int32_t row) {
    const std::size_t none = buckets_.size();
    std::size_t free = none;
    std::size_t b = home_of(id);
    for (std::size_t probes = 0; probes < buckets_.size(); ++probes, b = next_bucket(b)) {
        const IdBucket& bucket = *buckets_.at(b);
        if (const std::size_t slot = find_slot(bucket, id); slot != kNone) {
            return std::exchange(buckets_.copy_on_write(b)->rows[slot], row);
        }
        if (free == none && bucket.count < IdBucket::kSlots) free = b;
        if (bucket.overflowed) continue;
        if (free != none) break;
        buckets_.copy_on_write(b)->overflowed = 1;
    }
    IdBucket& bucket = *buckets_.copy_on_write(free);
    bucket.keys[bucket.count] = id;
    bucket.rows[bucket.count] = row;
    ++bucket.count;
    return -1;
}

std::int32_t IdMap::take(std::int64_t id) {
    std::size_t b = home_of(id);
    for (std::size_t probes = 0; probes < buckets_.size(); ++probes, b = next_bucket(b)) {
        const std::size_t slot = find_slot(*buckets_.at(b), id);
        if (slot != kNone) {
            IdBucket& bucket = *buckets_.copy_on_write(b);
            const std::size_t last = used_slots(bucket) - 1;
            const std::int32_t row = bucket.rows[slot];
            bucket.keys[slot] = std::exchange(bucket.keys[last], 0);
            bucket.rows[slot] = std::exchange(bucket.rows[last], 0);
            bucket.count = static_cast<std::uint16_t>(last);
            ++n_removed_;
            return row;
        }
        if (!buckets_.at(b)->overflowed) break;
    }
    return -1;
}

void IdMap::reserve(std::size_t n) {
    const std::size_t room = buckets_.size() * 4;
    if (n <= room && n_removed_ <= room && !buckets_.is_fragmented()) return;
    IdMap rebuilt(n <= room ? room * 3 / 4 : n + n / 4);
    for (std::size_t b = 0; b < buckets_.size(); ++b) {
        const IdBucket& bucket = *buckets_.at(b);
        for (std::size_t slot = 0; slot < used_slots(bucket); ++slot) rebuilt.put(bucket.keys[slot], bucket.rows[slot]);
    }
    *this = std::move(rebuilt);
}

bool IdMap::matches(std::span<const std::int64_t> ids) const {
    std::size_t n_used = 0;
    for (std::size_t b = 0; b < buckets_.size(); ++b) {
        if (buckets_.at(b)->count > IdBucket::kSlots) return false;
        n_used += buckets_.at(b)->count;
    }
    if (n_used != ids.size()) return false;
    IdLookup lookup(*this, ids, kMaxProbes);
    std::int32_t rows[IdLookup::kBlock];
    std::int32_t row = 0;
    while (const std::size_t n = lookup.next(rows)) {
        for (std::size_t i = 0; i < n; ++i, ++row) {
            if (rows[i] != row) return false;
        }
    }
    return true;
}

IdLookup::IdLookup(const IdMap& map, std::span<const std::int64_t> ids, std::size_t max_probes) noexcept
    : map_(map),
      pages_(map.buckets().pages()),
      n_buckets_(map.buckets().size()),
      find_ids_(kernels().find_ids),
      ids_(ids),
      max_probes_(std::min(max_probes, n_buckets_)) {
    for (std::size_t i = 0; i < std::min(kBlock, ids.size()); ++i) {
        homes_[i] = pages_.at(home_bucket(ids[i], n_buckets_));
        __builtin_prefetch(homes_[i], 0, 2);
    }
}

std::size_t IdLookup::next(std::int32_t* rows) noexcept {
    const std::size_t n = std::min(kBlock, ids_.size() - n_done_);
    const std::size_t n_next = std::min(kBlock, ids_.size() - n_done_ - n);
    const std::int64_t* ids = ids_.data() + n_done_;
    std::uint32_t displaced[kBlock];
    const std::size_t n_displaced =
        find_ids_(pages_, n_buckets_, ids, n, ids + n, n_next, homes_.data(), rows, displaced);
    if (n_displaced > 0 && max_probes_ > 1) find_displaced(ids, {displaced, n_displaced}, rows);
    n_done_ += n;
    return n;
}

void IdLookup::find_displaced(const std::int64_t* ids, std::span<const std::uint32_t> displaced,
                              std::int32_t* rows) noexcept {
    // Nearly all are in the next bucket.
    std::int64_t wanted[kBlock] = {};
    const IdBucket* second[kBlock];
    std::int32_t found[kBlock];
    std::uint32_t farther[kBlock];
    const std::size_t n = displaced.size();
    for (std::size_t d = 0; d < n; ++d) {
        wanted[d] = ids[displaced[d]];
        second[d] = pages_.at(map_.next_bucket(home_bucket(wanted[d], n_buckets_)));
    }
    const std::size_t n_farther = find_ids_(pages_, n_buckets_, wanted, n, nullptr, 0, second, found, farther);
    for (std::size_t f = 0; f < n_farther; ++f) {
        const std::int64_t id = wanted[farther[f]];
        const std::size_t third = map_.next_bucket(map_.next_bucket(home_bucket(id, n_buckets_)));
        found[farther[f]] = map_.find_from(id, third, max_probes_ - 2);
    }
    for (std::size_t d = 0; d < n; ++d) rows[displaced[d]] = found[d];
}

}  // namespace karec
