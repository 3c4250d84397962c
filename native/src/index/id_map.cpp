// Linear probing from bucket to bucket at load 0.6: one id in twenty is not in its home bucket.
#include "index/id_map.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "index/id_lookup.hpp"

namespace karec {
namespace {

constexpr std::size_t kPageBytes = std::size_t{64} << 10;
constexpr std::size_t kNone = IdBucket::kSlots;

// The slot that holds `id`, or kNone. All slots are compared without a branch, as the slot cannot be predicted.
std::size_t slot_in(const IdBucket& bucket, std::int64_t id) noexcept {
    const std::size_t count = std::min<std::size_t>(bucket.count, IdBucket::kSlots);
    unsigned equal = 0;
    for (unsigned slot = 0; slot < IdBucket::kSlots; ++slot) equal |= unsigned{bucket.keys[slot] == id} << slot;
    return static_cast<std::size_t>(std::countr_zero((equal & ((1u << count) - 1)) | 1u << kNone));
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

std::int32_t IdMap::find_from(std::int64_t id, std::size_t home, std::size_t most) const noexcept {
    std::size_t at = home;
    for (std::size_t probes = 0; probes < most; ++probes) {
        const IdBucket& bucket = *buckets_.at(at);
        const std::size_t slot = slot_in(bucket, id);
        if (slot != kNone) return bucket.rows[slot];
        if (!bucket.overflowed) return -1;
        at = after(at);
    }
    return -1;
}

void IdMap::find(std::span<const std::int64_t> wanted, std::int32_t* rows) const noexcept {
    IdLookup lookup(*this, wanted);
    while (const std::size_t n = lookup.next(rows)) rows += n;
}

std::int32_t IdMap::put(std::int64_t id, std::int32_t row) {
    const std::size_t nowhere = buckets_.size();
    std::size_t free = nowhere;
    std::size_t at = home_of(id);
    for (std::size_t probes = 0; probes < buckets_.size(); ++probes) {
        const IdBucket& bucket = *buckets_.at(at);
        if (const std::size_t slot = slot_in(bucket, id); slot != kNone) {
            return std::exchange(buckets_.copy_on_write(at)->rows[slot], row);
        }
        if (free == nowhere && bucket.count < IdBucket::kSlots) free = at;
        if (!bucket.overflowed) {
            if (free != nowhere) break;
            buckets_.copy_on_write(at)->overflowed = 1;
        }
        at = after(at);
    }
    IdBucket& bucket = *buckets_.copy_on_write(free);
    bucket.keys[bucket.count] = id;
    bucket.rows[bucket.count] = row;
    ++bucket.count;
    return -1;
}

std::int32_t IdMap::take(std::int64_t id) {
    std::size_t at = home_of(id);
    for (std::size_t probes = 0; probes < buckets_.size(); ++probes) {
        const std::size_t slot = slot_in(*buckets_.at(at), id);
        if (slot != kNone) {
            IdBucket& bucket = *buckets_.copy_on_write(at);
            const std::int32_t row = bucket.rows[slot];
            const std::size_t last = std::min<std::size_t>(bucket.count, IdBucket::kSlots) - 1;
            bucket.keys[slot] = std::exchange(bucket.keys[last], 0);
            bucket.rows[slot] = std::exchange(bucket.rows[last], 0);
            bucket.count = static_cast<std::uint16_t>(last);
            ++n_taken_;
            return row;
        }
        if (!buckets_.at(at)->overflowed) return -1;
        at = after(at);
    }
    return -1;
}

void IdMap::make_room(std::size_t n) {
    const std::size_t room = buckets_.size() * 4;
    if (n <= room && n_taken_ <= room && !buckets_.is_fragmented()) return;
    IdMap wider(n <= room ? room * 3 / 4 : n + n / 4);
    for (std::size_t b = 0; b < buckets_.size(); ++b) {
        const IdBucket& bucket = *buckets_.at(b);
        const std::size_t count = std::min<std::size_t>(bucket.count, IdBucket::kSlots);
        for (std::size_t slot = 0; slot < count; ++slot) wider.put(bucket.keys[slot], bucket.rows[slot]);
    }
    *this = std::move(wider);
}

bool IdMap::matches(std::span<const std::int64_t> ids) const {
    std::size_t taken = 0;
    for (std::size_t b = 0; b < buckets_.size(); ++b) {
        if (buckets_.at(b)->count > IdBucket::kSlots) return false;
        taken += buckets_.at(b)->count;
    }
    if (taken != ids.size()) return false;
    IdLookup lookup(*this, ids, kFarthest);
    std::int32_t rows[IdLookup::kBlock];
    std::int32_t row = 0;
    while (const std::size_t n = lookup.next(rows)) {
        for (std::size_t i = 0; i < n; ++i, ++row) {
            if (rows[i] != row) return false;
        }
    }
    return true;
}

}  // namespace karec
