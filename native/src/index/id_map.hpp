// id → row: an open-addressing hash table of 64-byte buckets, so that one lookup reads one cache line.
//
// Invariants:
//   - The first `count` slots of a bucket are taken; an id is in one slot of the table at most.
//   - If an id is not in its home bucket, every bucket from its home to the one before its own is marked `overflowed`.
//     Marks stay when ids are taken out, until the table is rebuilt.
//   - A file that was not verified may break all of this: then lookups still end and read no memory outside the
//     buckets, but may return any row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "index/paged_array.hpp"
#include "karec/status.hpp"
#include "kernels/kernels.hpp"

namespace karec {

// Buckets for n ids: three of five slots taken on average.
std::size_t id_bucket_count(std::size_t n) noexcept;

class IdMap {
  public:
    // An empty map with room for n ids.
    explicit IdMap(std::size_t n = 0);

    const PagedArray<IdBucket>& buckets() const noexcept { return buckets_; }
    PagedArray<IdBucket>& buckets() noexcept { return buckets_; }

    // Uses the buckets of a file, which `owner` keeps alive.
    void map(const std::shared_ptr<const void>& owner, std::span<const IdBucket> buckets);

    // rows[i] = the row of wanted[i], −1 = unknown. Expected O(1) an id; never reads outside the buckets, whatever they
    // hold; a row is whatever they say.
    void find(std::span<const std::int64_t> wanted, std::int32_t* rows) const noexcept;
    std::int32_t find(std::int64_t id) const noexcept { return find_from(id, home_of(id), buckets_.size()); }

    // Sets id → row, and returns the row that it had before, −1 = none. Call make_room before ids are added.
    std::int32_t put(std::int64_t id, std::int32_t row);
    // Takes id out, and returns its row, −1 = it was not there.
    std::int32_t take(std::int64_t id);

    // Makes room for n ids in all. Rebuilds the table, with a quarter to spare, if more than four of five slots would
    // be taken; and also if so many ids were taken out that stale overflow marks make lookups longer, or if the pages
    // are fragmented. O(1) an id on average.
    void make_room(std::size_t n);

    // Whether the map holds exactly ids[i] → i for every i, each in one of the kFarthest buckets from its home on. Only
    // ids that were chosen to meet in one bucket lie farther: looking up all of them takes time in their square. O(N).
    bool matches(std::span<const std::int64_t> ids) const;

  private:
    friend class IdLookup;
    static constexpr std::size_t kFarthest = 256;

    std::int32_t find_from(std::int64_t id, std::size_t home, std::size_t most) const noexcept;
    std::size_t home_of(std::int64_t id) const noexcept { return home_bucket(id, buckets_.size()); }
    std::size_t after(std::size_t at) const noexcept { return at + 1 == buckets_.size() ? 0 : at + 1; }

    PagedArray<IdBucket> buckets_;
    std::size_t n_taken_ = 0;  // since the map was built
};

}  // namespace karec
