// Item vectors of one length in blocks of 64 items, dimension-major: a kernel multiplies 64 items by one direction.
//
// A block is packed when it is first read. A thread reuses the memory of its last blocks, since new pages cost as much
// as a small selection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "diversity/feature_rows.hpp"
#include "kernels/kernels.hpp"

namespace karec {

struct FreeAligned {
    void operator()(float* memory) const noexcept { ::operator delete[](memory, std::align_val_t{64}); }
};

// Floats aligned to cache lines, not initialised: a load of 64 bytes across two lines takes twice as long.
using AlignedFloats = std::unique_ptr<float[], FreeAligned>;

class FeatureBlocks {
  public:
    // Place i holds item order[i] of `rows`, which must outlive it.
    FeatureBlocks(const FeatureRows& rows, std::vector<std::uint32_t> order);
    ~FeatureBlocks();
    FeatureBlocks(const FeatureBlocks&) = delete;
    FeatureBlocks& operator=(const FeatureBlocks&) = delete;

    std::size_t size() const noexcept { return order_.size(); }
    std::size_t n_blocks() const noexcept { return is_packed_.size(); }
    std::size_t item(std::size_t place) const noexcept { return order_[place]; }

    // block[d·kBlockItems + i] = dimension d of place b·kBlockItems + i, 0 behind the last place.
    const float* block(std::size_t b) {
        if (!is_packed_[b]) pack(b);
        return values_.get() + b * kBlockItems * rows_.dim();  // nullptr if rows have no dimensions
    }

  private:
    void pack(std::size_t b);

    const FeatureRows& rows_;
    std::vector<std::uint32_t> order_;
    std::vector<bool> is_packed_;
    std::size_t n_values_;
    AlignedFloats values_;
    std::vector<float> decoded_;  // one block of int8 rows
};

}  // namespace karec
