// id → row: an open-addressing hash table of 64-byte buckets, so that one lookup is one cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "karec/status.hpp"

namespace karec {

// As it lies in memory and in index files. The first `count` slots are taken; `overflowed` says that a key whose home
// is here may stand in a later bucket.
struct alignas(64) IdBucket {
    static constexpr std::size_t kSlots = 5;
    std::int64_t keys[kSlots];
    std::int32_t rows[kSlots];
    std::uint16_t count;
    std::uint16_t overflowed;
};
static_assert(sizeof(IdBucket) == 64);

// Buckets for n ids: three of five slots taken on average.
std::size_t id_bucket_count(std::size_t n) noexcept;

// Fills zeroed `buckets` (id_bucket_count(ids.size()) of them) with ids[i] → i. Refuses a repeated id, naming it.
Status fill_id_map(std::span<const std::int64_t> ids, std::span<IdBucket> buckets);

// rows[i] = the row of wanted[i], −1 = unknown. Expected O(1) an id; never reads outside `buckets`, whatever they hold.
void find_ids(std::span<const IdBucket> buckets, std::span<const std::int64_t> wanted, std::int32_t* rows) noexcept;

// Whether the table says exactly ids[i] → i for every i and nothing else. O(N).
bool id_map_matches(std::span<const IdBucket> buckets, std::span<const std::int64_t> ids);

}  // namespace karec
