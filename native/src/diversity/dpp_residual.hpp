// The residual operator of the features F of a DPP's picks and shown rows: M = I − Fᵀ(F Fᵀ + ridge·I)⁻¹F, in float64.
//
// Algorithm  ρ of an item with feature f is ridge + fᵀMf. Adding feature f subtracts u uᵀ from M, with u = M f / √ρ
//            (Sherman–Morrison): ρ of every item falls by ⟨f_i, u⟩². Features may get more coordinates while there are
//            directions (dpp_conditional_variance.hpp); beyond the first ones they are mostly 0. Without further
//            coordinates a direction reads and writes the matrix whole. With them the matrix gets kMaxPending
//            directions at once, row by row, and a feature is multiplied by the rows in which it is not 0.
// Cost       O(width·(D + width)) for each direction; width² of it is one read and write for kMaxPending directions.
// Source     J. Sherman, W. J. Morrison, "Adjustment of an Inverse Matrix", 1950.
//
// Invariants
//   - Before fold(), M = I − Σ u uᵀ over directions_. After it, directions_ is empty and M = matrix_ − Σ u uᵀ over
//     pending_.
//   - M is symmetric; its eigenvalues are in [0, 1] up to rounding.
//   - bound() and diagonal() change nothing, so that results of apply() do not depend on their calls.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/scratch.hpp"

namespace karec {

// A coordinate in which M was the identity, and now has the part that the noise of one row, its owner, explains.
struct NewCoordinate {
    std::size_t at;                 // in [0, width)
    std::span<const double> owner;  // (width,) feature of the owner, 0 at `at`
    double root_weight;             // √w
    double fraction;                // √w / noise of the owner
};

class DppResidual {
  public:
    explicit DppResidual(std::size_t width) : width_(width), dense_(width) {}

    // out (width) = M f. Returns fᵀf − fᵀMf, the explained part of ⟨f, f⟩.
    double apply(std::span<const double> feature, std::span<double> out);

    // M ← M − u uᵀ.
    void add(std::span<const double> direction);

    // Adds coordinates in which M is the identity.
    void widen(std::size_t width);

    // Sets M's row of the new coordinate to −fraction·M owner, and its diagonal to 1 − √w·fraction + fraction²·⟨owner,
    // M owner⟩. `position`: of the owner among the listed directions, nullopt if it was added before them all;
    // `inverse_root`: 1/√ρ of the owner.
    void extend(const NewCoordinate& coordinate, std::optional<std::size_t> position, double inverse_root);

    // M ← I; not after fold().
    void clear() noexcept {
        directions_.clear();
        n_listed_ = 0;
    }

    // Number of listed directions, 0 after fold(). apply() costs O(n_listed·width) before fold().
    std::size_t n_listed() const noexcept { return n_listed_; }

    // Builds M as a matrix: apply() then costs O(width²) for any number of directions.
    void fold();

    // Returns an upper bound of the largest eigenvalue of M's first `size` rows and columns, and so of fᵀMf for unit
    // vectors f in these coordinates: (Σλ⁴)^¼ = √‖M²‖_F in float32, plus its rounding error. O(size³), as much as
    // bound_cost(size) updates of a block by one direction; before fold() O(size·n_listed·width) more.
    double bound(std::size_t size) const;
    static std::size_t bound_cost(std::size_t size) noexcept;

    double diagonal(std::size_t at) const;

  private:
    // Directions that the matrix, or the identity, does not include yet.
    const std::vector<double>& rest() const noexcept { return is_folded() ? pending_ : directions_; }
    std::size_t n_rest() const noexcept { return is_folded() ? n_pending_ : n_listed_; }
    bool is_folded() const noexcept { return stride_ > 0; }
    void apply_pending();
    double multiply(std::span<const double> feature, std::span<double> out);
    // out = the first entries of M's row; `parts` (n_rest) is scratch.
    void write_row(std::size_t at, std::span<double> parts, std::span<double> out) const;

    std::size_t width_;
    std::size_t dense_;  // coordinates of vectors: the first ones
    std::size_t n_listed_ = 0;
    std::vector<double> directions_;
    std::vector<double> parts_;
    std::vector<std::size_t> nonzero_;  // coordinates from dense_ on in which the last feature is not 0
    std::size_t n_pending_ = 0;
    std::vector<double> pending_;  // (n_pending, width)
    std::size_t stride_ = 0;       // of matrix_: width_, or room for more; 0 until fold()
    ScratchArray<double> matrix_;
};

}  // namespace karec
