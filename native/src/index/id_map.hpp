// IdMap maps ids to rows: an open-addressing hash table of 64-byte buckets, so that one lookup reads one cache line.
//
// Algorithm  linear probing from bucket to bucket at load 0.6: one id in twenty is not in its home bucket.
// Cost       expected O(1) per id; 21 bytes per id.
// Invariants
//   - The first `count` slots of a bucket are used; an id is in at most one slot of the table.
//   - If an id is not in its home bucket, every bucket from its home to the one before its own is marked `overflowed`.
//     Marks stay when ids are removed, until the table is rebuilt.
//   - A file that was not verified may break both: lookups still end and stay inside the buckets, but may return any
//     row.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "index/paged_array.hpp"
#include "kernels/kernels.hpp"

namespace karec {

// Buckets for n ids: three of five slots are used on average.
std::size_t id_bucket_count(std::size_t n) noexcept;

// One thread writes at a time; any number of threads read copies of the map that were published before.
class IdMap {
  public:
    // An empty map with room for n ids.
    explicit IdMap(std::size_t n = 0);

    const PagedArray<IdBucket>& buckets() const noexcept { return buckets_; }
    PagedArray<IdBucket>& buckets() noexcept { return buckets_; }

    // Uses the buckets of a file, which `owner` keeps in memory.
    void map(const std::shared_ptr<const void>& owner, std::span<const IdBucket> buckets);

    // rows[i] = the row of ids[i], or −1. Reads nothing outside the buckets.
    void find(std::span<const std::int64_t> ids, std::int32_t* rows) const noexcept;
    std::int32_t find(std::int64_t id) const noexcept { return find_from(id, home_of(id), buckets_.size()); }

    // Sets id → row and returns the previous row, or −1. Call reserve before ids are added.
    std::int32_t put(std::int64_t id, std::int32_t row);
    // Removes id and returns its row, or −1.
    std::int32_t take(std::int64_t id);

    // Makes room for n ids. Rebuilds the table, with a quarter to spare, if more than four of five slots would be used,
    // if removed ids left so many marks that lookups are longer, or if the pages are fragmented. Amortised O(1) per id.
    void reserve(std::size_t n);

    // Returns whether the map is exactly ids[i] → i, each id within kMaxProbes buckets from its home. Only ids that
    // were chosen to collide are farther: lookups of all of them take quadratic time. O(N).
    bool matches(std::span<const std::int64_t> ids) const;

  private:
    friend class IdLookup;
    static constexpr std::size_t kMaxProbes = 256;

    std::int32_t find_from(std::int64_t id, std::size_t first_bucket, std::size_t max_probes) const noexcept;
    std::size_t home_of(std::int64_t id) const noexcept { return home_bucket(id, buckets_.size()); }
    std::size_t next_bucket(std::size_t b) const noexcept { return b + 1 == buckets_.size() ? 0 : b + 1; }

    PagedArray<IdBucket> buckets_;
    std::size_t n_removed_ = 0;  // since the map was built
};

// A lookup of many ids, block by block: the home buckets of a block are prefetched while the block before is looked up.
// Ids that are not in their full home bucket are looked up at the end of their block, when the next bucket is in the
// cache too. Computing between two blocks hides the rest of the latency. The map and the ids outlive it.
class IdLookup {
  public:
    static constexpr std::size_t kBlock = 128;

    // Reads at most `max_probes` buckets per id.
    IdLookup(const IdMap& map, std::span<const std::int64_t> ids, std::size_t max_probes = SIZE_MAX) noexcept;

    // rows = the rows of the next block of ids, −1 = not found; returns their number, at most kBlock.
    std::size_t next(std::int32_t* rows) noexcept;

  private:
    // Looks up the ids at the positions `displaced` of this block, none of which is in its home bucket.
    void find_displaced(const std::int64_t* ids, std::span<const std::uint32_t> displaced, std::int32_t* rows) noexcept;

    const IdMap& map_;
    Pages<IdBucket> pages_;
    std::size_t n_buckets_;
    decltype(Kernels::find_ids) find_ids_;
    std::span<const std::int64_t> ids_;
    std::size_t max_probes_;
    std::size_t n_done_ = 0;
    std::array<const IdBucket*, kBlock> homes_;
};

}  // namespace karec
