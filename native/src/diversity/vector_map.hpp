// VectorMap centres and whitens vectors before a selection compares them: f → W(f − μ).
//
// W = A diag((v_max/v)^(p/2)) Aᵀ, with v the variances along the axes A (orthonormal rows) and p the exponent: 0 keeps
// the differences of variance, 1 removes them. The factor v_max does not matter, as a selection scales vectors to
// length 1. A zero vector stays zero. f − μ is rounded to float32, and so is W; their product is summed dimension by
// dimension, each step rounded once: the same bits on every instruction set. O(D²) a vector.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "karec/status.hpp"

namespace karec {

class VectorMap {
  public:
    // axes (D, D) by rows and variances (D,) > 0. `mean` (D,) or empty: not centred. Refuses: an exponent outside [0,
    // 1], lengths that differ, numbers that are not finite.
    static Result<VectorMap> make(std::span<const double> mean, std::span<const double> axes,
                                  std::span<const double> variances, double exponent);

    std::size_t dim() const noexcept { return dim_; }

    // Maps rows (n, D) in place.
    void apply(std::span<float> rows) const;

  private:
    VectorMap() = default;

    std::size_t dim_ = 0;
    std::vector<double> mean_;    // empty: not centred
    std::vector<float> weights_;  // blocks of 64 outputs: (blocks, D, 64); empty: not whitened
};

}  // namespace karec
