// id → row: an open-addressing hash table of 64-byte buckets, so that one lookup is one cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "index/paged_array.hpp"
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

class IdMap {
  public:
    // An empty map with room for n ids.
    explicit IdMap(std::size_t n = 0);

    const PagedArray<IdBucket>& buckets() const noexcept { return buckets_; }
    PagedArray<IdBucket>& buckets() noexcept { return buckets_; }

    // Shows buckets that a file holds.
    void map(const std::shared_ptr<const void>& owner, std::span<const IdBucket> buckets);

    // rows[i] = the row of wanted[i], −1 = unknown. Expected O(1) an id; never reads outside the buckets, whatever they
    // hold; a row is whatever they say.
    void find(std::span<const std::int64_t> wanted, std::int32_t* rows) const noexcept;
    std::int32_t find(std::int64_t id) const noexcept { return find_from(id, home_of(id)); }

    // The same in two steps, so that other work can lie between the fetch of a bucket and its use.
    std::size_t prefetch(std::int64_t id) const noexcept {
        const std::size_t home = home_of(id);
        __builtin_prefetch(buckets_.at(home));
        return home;
    }
    std::int32_t find_from(std::int64_t id, std::size_t home) const noexcept;

    // Says id → row, and returns the row that it said before, −1 = none. make_room first, if ids are added.
    std::int32_t put(std::int64_t id, std::int32_t row);
    // Forgets id, and returns its row, −1 = there was none.
    std::int32_t take(std::int64_t id);

    // Room for n ids in all: rebuilt, with a quarter to spare, where more than four of five slots would be taken, and
    // where so many ids were taken out that their marks of overflow lengthen searches, or so many pages were copied
    // that they lie scattered. O(1) an id on average.
    void make_room(std::size_t n);

    // Whether the map says exactly ids[i] → i for every i and nothing else. O(N).
    bool matches(std::span<const std::int64_t> ids) const;

  private:
    std::size_t home_of(std::int64_t id) const noexcept;
    std::size_t after(std::size_t at) const noexcept { return at + 1 == buckets_.size() ? 0 : at + 1; }

    PagedArray<IdBucket> buckets_;
    std::size_t n_taken_ = 0;  // since the map was built
};

}  // namespace karec
