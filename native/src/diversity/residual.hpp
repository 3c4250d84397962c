// The residual operator of a set of features F: M = I − Fᵀ(F Fᵀ + ridge·I)⁻¹F, from which a DPP's gains follow.
//
// ρ of an item with feature f is ridge + fᵀMf. Adding feature f to the set subtracts u uᵀ from M, with u = M f / √ρ
// (Sherman–Morrison): every item's ρ falls by ⟨f_i, u⟩². All in float64. Features may get more coordinates while
// directions are there (explained.hpp says when); behind the first ones of all they are mostly 0.
//
// M as a matrix is read and written whole for each direction only while it has no further coordinates. With them it
// gets the last kMostPending directions at once, row by row, and a feature is multiplied by the rows in which it is not
// 0: O(width·(D + width)) a direction, of which width² is one read and write for kMostPending directions.
//
// Invariants:
//   - Before fold(), M = I − Σ u uᵀ over directions_. After it, directions_ is empty and M = matrix_ − Σ u uᵀ over
//     pending_.
//   - M is symmetric, and its eigenvalues lie in [0, 1] up to rounding.
//   - bound() and diagonal() change nothing: what apply() returns does not depend on when they were asked.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/scratch.hpp"

namespace karec {

// A coordinate in which M was the identity and becomes what the noise of one feature's owner explains of it.
struct NewCoordinate {
    std::size_t at;                 // in [0, width)
    std::span<const double> owner;  // (width,) its feature, 0 at `at`
    double root_weight;             // √w
    double share;                   // √w / the owner's noise
};

class Residual {
  public:
    explicit Residual(std::size_t width) : width_(width), dense_(width) {}

    // out (width) = M f. Returns fᵀf − fᵀMf, the part of ⟨f, f⟩ that the set explains.
    double apply(std::span<const double> feature, std::span<double> out);

    // M ← M − u uᵀ.
    void add(std::span<const double> direction);

    // More coordinates, in which M is the identity.
    void widen(std::size_t width);

    // M's row of the new coordinate is −share·M owner, its diagonal 1 − √w·share + share²·⟨owner, M owner⟩. `position`:
    // the owner's among the listed directions, nullopt where it stands before them all; `inverse_root` its 1/√ρ.
    void extend(const NewCoordinate& coordinate, std::optional<std::size_t> position, double inverse_root);

    // M ← I; not after fold().
    void clear() noexcept {
        directions_.clear();
        n_listed_ = 0;
    }

    // The number of listed directions, with which apply() costs O(listed·width); 0 after fold().
    std::size_t listed() const noexcept { return n_listed_; }

    // Builds M as a matrix: apply() then costs O(width²), however many directions there are.
    void fold();

    // An upper bound of the largest eigenvalue of M's first `size` rows and columns, so of fᵀMf for every unit vector f
    // in these coordinates. (Σλ⁴)^¼ = √‖M²‖_F in float32, plus its rounding error. O(size³), as much as
    // price_of_bound(size) updates of a block by one direction; before fold() O(size·listed·width) more.
    double bound(std::size_t size) const;
    static std::size_t price_of_bound(std::size_t size) noexcept;

    // M's diagonal entry.
    double diagonal(std::size_t at) const;

  private:
    // The directions that the matrix, or the identity, does not have yet.
    const std::vector<double>& rest() const noexcept { return folded() ? pending_ : directions_; }
    std::size_t n_rest() const noexcept { return folded() ? n_pending_ : n_listed_; }
    bool folded() const noexcept { return stride_ > 0; }
    void apply_pending();
    double multiply(std::span<const double> feature, std::span<double> out);
    // out = the first of M's row; `parts` (n_rest) is scratch.
    void row(std::size_t at, std::span<double> parts, std::span<double> out) const;

    std::size_t width_;
    std::size_t dense_;
    std::size_t n_listed_ = 0;
    std::vector<double> directions_;
    std::vector<double> parts_;
    std::vector<std::size_t> further_;  // coordinates from dense_ on in which the last feature is not 0
    std::size_t n_pending_ = 0;
    std::vector<double> pending_;  // (n_pending, width) directions that are subtracted later
    std::size_t stride_ = 0;       // of matrix_: width_, or room for more; 0 until fold()
    ScratchArray<double> matrix_;
};

}  // namespace karec
