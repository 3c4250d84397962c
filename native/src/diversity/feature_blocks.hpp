// Unit-length rows in blocks of 64 items, dimension-major, so that one direction meets 64 items in vector registers. A
// block is packed when it is first read.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "diversity/vector_rows.hpp"
#include "kernels/kernels.hpp"

namespace karec {

struct FreeAligned {
    void operator()(float* memory) const noexcept { ::operator delete[](memory, std::align_val_t{64}); }
};

// Floats aligned to cache lines, not initialised: a load of 64 bytes across two lines takes twice as long.
using AlignedFloats = std::unique_ptr<float[], FreeAligned>;

// The factor that gives a row of that squared norm the length `scale`; 0 for a zero row.
inline double length_factor(double squared_norm, double scale) noexcept {
    return squared_norm > 0.0 ? scale / std::sqrt(squared_norm) : 0.0;
}

class FeatureBlocks {
  public:
    // Place i holds row order[i] of `rows` at length `scale`.
    FeatureBlocks(const VectorRows& rows, std::span<const double> squared_norms, double scale,
                  std::vector<std::uint32_t> order);
    ~FeatureBlocks();
    FeatureBlocks(const FeatureBlocks&) = delete;
    FeatureBlocks& operator=(const FeatureBlocks&) = delete;

    std::size_t size() const noexcept { return order_.size(); }
    std::size_t count() const noexcept { return packed_.size(); }
    std::size_t item(std::size_t place) const noexcept { return order_[place]; }

    // block[d·kBlockItems + i] = dimension d of place b·kBlockItems + i; zeros behind the last.
    const float* block(std::size_t b) {
        if (!packed_[b]) pack(b);
        return values_.get() + b * kBlockItems * rows_.cols;  // nullptr if rows have no dimensions
    }

  private:
    void pack(std::size_t b);

    VectorRows rows_;
    std::span<const double> squared_norms_;
    double scale_;
    std::vector<std::uint32_t> order_;
    std::vector<bool> packed_;
    std::size_t n_values_;
    AlignedFloats values_;
    std::vector<float> decoded_;  // of int8 rows, one block
};

}  // namespace karec
