// The kernel of the id map: many ids in the buckets in which they should be.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/pages.hpp"

namespace karec {

// The layout in memory and in index files. `overflowed`: a key whose home is this bucket may be in a later one.
struct alignas(64) IdBucket {
    static constexpr std::size_t kSlots = 5;
    std::int64_t keys[kSlots];
    std::int32_t rows[kSlots];
    std::uint16_t count;
    std::uint16_t overflowed;
};
static_assert(sizeof(IdBucket) == 64);

// The bucket in which an id is, unless that was full: the finaliser of splitmix64 (Steele, Lea, Flood 2014), then
// Lemire's multiply-high in place of a division.
inline std::size_t home_bucket(std::int64_t id, std::size_t n_buckets) noexcept {
    auto h = static_cast<std::uint64_t>(id);
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 27) * 0x94D049BB133111EBu;
    h ^= h >> 31;
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::size_t>(static_cast<Wide>(h) * n_buckets >> 64);
}

struct LookupKernels {
    // rows[i] = the row of ids[i] in *at[i], −1 where it is not there. Then at[i] = the home bucket of next[i], which
    // is prefetched, for i < n_next ≤ n. Writes each i < n whose id is not there though the bucket is overflowed to
    // `displaced` (room for n), ascending, prefetches the bucket behind, and returns how many. Whatever the buckets
    // hold, nothing outside of them is read.
    std::size_t (*find)(const Pages<IdBucket>& buckets, std::size_t n_buckets, const std::int64_t* ids, std::size_t n,
                        const std::int64_t* next, std::size_t n_next, const IdBucket** at, std::int32_t* rows,
                        std::uint32_t* displaced);
};

}  // namespace karec
