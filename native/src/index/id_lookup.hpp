// The lookup of many ids, a block at a time.
//
// The home buckets of a block are prefetched while the block before is looked up. Ids that were displaced from a full
// home bucket are finished at the end of their block, when the bucket behind has come from memory too. Work that the
// caller does between two blocks covers what is left of the way.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "index/id_map.hpp"
#include "kernels/kernels.hpp"

namespace karec {

class IdLookup {
  public:
    static constexpr std::size_t kBlock = 128;

    // Looks at no more than the first `most` buckets from the home of an id on.
    IdLookup(const IdMap& map, std::span<const std::int64_t> ids, std::size_t most = SIZE_MAX) noexcept;

    // rows = the rows of the next min(kBlock, what is left) ids, −1 = not found; returns how many.
    std::size_t next(std::int32_t* rows) noexcept;

  private:
    // Of the ids at `displaced` of this block: none is in its home bucket.
    void finish(const std::int64_t* ids, const std::uint32_t* displaced, std::size_t n, std::int32_t* rows) noexcept;

    const IdMap& map_;
    Pages<IdBucket> pages_;
    std::size_t n_buckets_;
    decltype(Kernels::find_ids) find_ids_;
    std::span<const std::int64_t> ids_;
    std::size_t most_;
    std::size_t at_ = 0;
    std::array<const IdBucket*, kBlock> homes_;
};

}  // namespace karec
