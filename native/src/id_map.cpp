// Linear probing from bucket to bucket at load 0.6. Lookups run in blocks: hash and prefetch all, then compare.
#include "id_map.hpp"

#include <algorithm>
#include <string>

namespace karec {
namespace {

// The finaliser of splitmix64 (Steele, Lea, Flood 2014), then Lemire's multiply-high in place of a division.
std::size_t home_of(std::int64_t id, std::size_t n_buckets) noexcept {
    auto h = static_cast<std::uint64_t>(id);
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 27) * 0x94D049BB133111EBu;
    h ^= h >> 31;
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::size_t>(static_cast<Wide>(h) * n_buckets >> 64);
}

std::int32_t row_in(const IdBucket& bucket, std::int64_t id) noexcept {
    const std::size_t count = std::min<std::size_t>(bucket.count, IdBucket::kSlots);
    for (std::size_t slot = 0; slot < count; ++slot) {
        if (bucket.keys[slot] == id) return bucket.rows[slot];
    }
    return -1;
}

std::int32_t find(std::span<const IdBucket> buckets, std::int64_t id, std::size_t home) noexcept {
    std::size_t at = home;
    for (std::size_t probes = 0; probes < buckets.size(); ++probes) {
        const std::int32_t row = row_in(buckets[at], id);
        if (row >= 0 || !buckets[at].overflowed) return row;
        at = at + 1 == buckets.size() ? 0 : at + 1;
    }
    return -1;
}

}  // namespace

std::size_t id_bucket_count(std::size_t n) noexcept {
    return n / 3 + 1;
}

Status fill_id_map(std::span<const std::int64_t> ids, std::span<IdBucket> buckets) {
    for (std::size_t row = 0; row < ids.size(); ++row) {
        std::size_t at = home_of(ids[row], buckets.size());
        for (;;) {
            IdBucket& bucket = buckets[at];
            if (row_in(bucket, ids[row]) >= 0) {
                return Status::invalid("ids must be unique, " + std::to_string(ids[row]) + " stands twice (again at " +
                                       std::to_string(row) + ")");
            }
            if (bucket.count < IdBucket::kSlots) {
                bucket.keys[bucket.count] = ids[row];
                bucket.rows[bucket.count] = static_cast<std::int32_t>(row);
                ++bucket.count;
                break;
            }
            bucket.overflowed = 1;
            at = at + 1 == buckets.size() ? 0 : at + 1;
        }
    }
    return {};
}

void find_ids(std::span<const IdBucket> buckets, std::span<const std::int64_t> wanted, std::int32_t* rows) noexcept {
    constexpr std::size_t kBlock = 32;
    std::size_t homes[kBlock];
    for (std::size_t start = 0; start < wanted.size(); start += kBlock) {
        const std::size_t n = std::min(kBlock, wanted.size() - start);
        for (std::size_t i = 0; i < n; ++i) {
            homes[i] = home_of(wanted[start + i], buckets.size());
            __builtin_prefetch(&buckets[homes[i]]);
        }
        for (std::size_t i = 0; i < n; ++i) rows[start + i] = find(buckets, wanted[start + i], homes[i]);
    }
}

bool id_map_matches(std::span<const IdBucket> buckets, std::span<const std::int64_t> ids) {
    std::size_t taken = 0;
    for (const IdBucket& bucket : buckets) {
        if (bucket.count > IdBucket::kSlots) return false;
        taken += bucket.count;
    }
    if (taken != ids.size()) return false;
    constexpr std::size_t kBlock = 1024;
    std::int32_t rows[kBlock];
    for (std::size_t start = 0; start < ids.size(); start += kBlock) {
        const std::size_t n = std::min(kBlock, ids.size() - start);
        find_ids(buckets, ids.subspan(start, n), rows);
        for (std::size_t i = 0; i < n; ++i) {
            if (rows[i] != static_cast<std::int32_t>(start + i)) return false;
        }
    }
    return true;
}

}  // namespace karec
