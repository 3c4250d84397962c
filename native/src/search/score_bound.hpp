// Bounds of the error of approximate scores: they show which rows of a tile cannot be among the k best.
//
// Algorithm: the exact score E of a row is a chain of rounded operations. A kernel (kernels/kernels.hpp) gives an
// approximate U for all 64 rows of a tile and many queries at once, with other sums, fused or in bfloat16. With a bound
// |E − U| ≤ err of the tile, U < threshold − err proves E < threshold, the k-th best score so far: such a row loses. Of
// the others, those whose U + err is below the k-th largest U − err lose too; the rest are scored exactly. So ids,
// scores and ties do not depend on U.
// Cost: the kernel's, and O(1) a tile and query.
// Source: the standard model of rounding errors (N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd
// ed., 2002, chapters 2 and 3): a sum of products of n terms, in any order, is off by at most γ(m)·Σ|x·q|, m the most
// roundings of one term, γ(m) = m·u/(1 − m·u) ≤ 1.01·m·u here, u = 2^-24; with Cauchy and Schwarz Σ|x·q| ≤
// ‖x‖·‖q‖. Underflow, or a flush to zero if the processor is set to it, adds at most 2^-126 an operation.
//
// Proof. x a row, q a query, n the padded dimensions (16 ≤ n ≤ 65536), r the unit roundoff of a block's elements (0 for
// float32, 2^-8 for bfloat16), all norms those of the exact values.
//   1. Norm. The kernel's sum S of rounded squares: ‖x‖² ≤ (S + n·2^-126)·(1 + (n + 3)·2^-23) =: N². So N ≥ 2^-61.
//   2. Product. The search's P: |P − ⟨x, q⟩| ≤ γ(n/16 + 5)·N‖q‖ + underflow. The kernel's A: rounding the elements
//      moves ⟨x, q⟩ by at most (2r + r²)·N‖q‖, and summing them by γ(2n + 16)·(1 + r)²·N‖q‖. Underflow of both is at
//      most n·2^-124·(1 + ‖q‖) ≤ N·n·2^-62·(1 + ‖q‖). Together |A − P| ≤ N·c, and |A|, |P| ≤ 1.02·N‖q‖ =: M, up to
//      underflow.
//   3. Adjustment. P becomes (P·v + a)·w + b, with v, a of the row's model version and w, b of its item, four
//      roundings. The kernel takes A·s + t, s = v·w and t = a·w + b rounded. With V, A', W, B the largest |v|, |a|,
//      |w|, |b| of the tile and H = (M·V + A')·W + B, the four roundings are off by at most 4·u·H·1.01, those of s, t,
//      A·s + t by 5·u·H·1.01, underflow by 2^-120·(1 + W + M), and the difference of A and P becomes at most N·c·V·W.
//   So err = N·V·W·error + base with error = ‖q‖·(2r + r² + (4n + 64)·u) + n·2^-62·(1 + ‖q‖), which holds c and
//   16·u·M/N, and base = 16·u·(A'·W + B) + 2^-120·(1 + W + M).
//   4. No overflow. If M, ‖q‖, M·V + A', V·W or H of the tile may pass 2^126, err is infinite: every row is scored.
//      Else every intermediate result of E and of U is finite: |partial sums| ≤ 1.01·N‖q‖, and no element of q rounds
//      to infinity in bfloat16. If N is finite, no element of x does either.
//   5. In float32: x − err is taken as x − (|x|·2^-22 + err·(1 + 2^-20)), x + err likewise; each operation rounds by at
//      most 2^-24·(|x| + err), and all together are less than the added part. NaN, of an x or err that is infinite,
//      passes.
//   6. A query of zeros: P = 0 = A, and E = t = U, so that there is no error: such scores are equal everywhere.
// A row with NaN or infinity, possible only in a file opened without verify, makes U NaN or N infinite, and passes.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "index/generation.hpp"
#include "kernels/kernels.hpp"
#include "search/tile.hpp"

namespace karec {

// The query's part of the bound: `error` above, rounded; 0 for a query of zeros.
float bound_error(std::span<const float> padded_query, double norm, const BoundKernels& kernels) noexcept;

// At most x − err, and at least x + err, of err·(1 + 2^-20).
inline float below(float x, float margin) noexcept {
    return margin == 0.0f ? x : x - (std::abs(x) * 0x1p-22f + margin);
}
inline float above(float x, float margin) noexcept {
    return margin == 0.0f ? x : x + (std::abs(x) * 0x1p-22f + margin);
}

// The tile's part: margin_of(error) is err·(1 + 2^-20), rounded in float32 by far less than 2^-20 of it.
struct TileMargin {
    float slope = 0.0f;  // N·V·W·(1 + 2^-18), at least 2^-100; infinite if something can overflow
    float base = 0.0f;   // base·(1 + 2^-18)
    float margin_of(float error) const noexcept { return error == 0.0f ? 0.0f : error * slope + base; }
};

// The margin of a tile, and the scales and offsets of its rows for the kernel.
class TileBound {
  public:
    // `max_square`: the largest ‖row‖² that the kernel returned. `max_norm`: the largest norm of the queries.
    void compute(const Generation& g, const Tile& tile, float max_square, double max_norm) noexcept;

    TileMargin margin() const noexcept { return margin_; }

    // s and t of the 64 rows; null if all are 1 and 0.
    const float* scales() const noexcept { return is_adjusted_ ? scales_ : nullptr; }
    const float* offsets() const noexcept { return is_adjusted_ ? offsets_ : nullptr; }

  private:
    TileMargin margin_;
    bool is_adjusted_ = false;
    float scales_[kTile];
    float offsets_[kTile];
};

}  // namespace karec
