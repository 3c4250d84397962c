// What a set of features does not explain: M = I − Fᵀ(F Fᵀ + ridge·I)⁻¹F, the projector that a DPP's gains come from.
//
// ρ of an item with feature f is ridge + fᵀMf. Adding a feature f to the set takes u uᵀ from M, with u = M f / √ρ
// (Sherman–Morrison), so that every item's ρ falls by ⟨f_i, u⟩² and a ridge costs nothing. All in float64.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/aligned.hpp"

namespace karec {

class Residual {
  public:
    explicit Residual(std::size_t width) : width_(width) {}

    // out (width) = M f. Returns fᵀf − fᵀMf, the part of ⟨f, f⟩ that is explained.
    double apply(std::span<const double> feature, std::span<double> out);

    // M ← M − u uᵀ.
    void add(std::span<const double> direction);

    // M ← I; not after fold().
    void clear() noexcept { directions_.clear(); }

    // Directions that are still listed; listing costs O(count·width) an apply().
    std::size_t listed() const noexcept { return width_ == 0 ? 0 : directions_.size() / width_; }

    // From now on M is kept as a matrix: O(width²) an apply(), however many directions there are.
    void fold();

    // No less than M's largest eigenvalue, so than fᵀMf of any unit vector f; only after fold(). (Σλ⁴)^¼ = √‖M²‖_F, in
    // float32 with the rounding added: O(width³), as much as price_of_bound() blocks looked at in one direction.
    double bound();
    std::size_t price_of_bound() const noexcept;

  private:
    void apply_pending();

    std::size_t width_;
    std::vector<double> directions_;
    std::vector<double> parts_;
    std::vector<double> pending_;  // the last direction, until M is read next
    Aligned<double> matrix_;       // null until fold()
};

}  // namespace karec
