// What the picks of a DPP explain of other items by their types, beside what they explain by their embeddings.
//
// S = (1 − w)·F Fᵀ + w·[type_i = type_j], w = type_weight, r = ridge. Of the m picks of a type with features g (the
// embedding at length √(1 − w)) and their sum s:
//
//   mean = w·s / (w·m + r)     0 where m = 0
//   own  = w·r / (w·m + r)     w where m = 0
//
// With Q the residual of the embeddings' part (Residual), an item of that type has ρ = r + own + hᵀQ h, h = g − mean.
// A pick takes u uᵀ from Q, u = Q h / √ρ, and (⟨g_i, u⟩ + offset_i)² from the ρ of item i, with
//
//   offset_i = −⟨mean of i's type, u⟩, and own / √ρ more where i is of the pick's type
//
// of mean and own before the pick. This is the residual I − Φᵀ(Φ Φᵀ + r·I)⁻¹Φ of the features Φ = (g, √w·one-hot type),
// whose block of types is diagonal but for Q. So a pick costs O(picked types · D), whatever the number of types.
//
// Invariants:
//   - A type has a slot from its first counted pick on, until clear(). Slots are numbered in that order.
//   - A direction has offsets for the slots of its time: a type of a later slot has offset 0 in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/scratch.hpp"
#include "diversity/dpp_problem.hpp"

namespace karec {

class TypeEffects {
  public:
    static constexpr std::uint32_t kNoSlot = std::numeric_limits<std::uint32_t>::max();
    static constexpr std::size_t kNoType = std::numeric_limits<std::size_t>::max();

    explicit TypeEffects(const DppProblem& problem);

    std::uint32_t slot_of(std::size_t type) const noexcept { return slot_of_[type]; }
    bool has_picks(std::size_t type) const noexcept { return type != kNoType && slot_of_[type] != kNoSlot; }
    double own(std::size_t type) const noexcept;

    // out (D) = feature (D) − mean of a type that has picks.
    void centre(std::size_t type, std::span<const double> feature, std::span<double> out) const noexcept;

    // Counts a pick in: its type, its feature (D), its ρ, and its direction (D). Returns the direction's offsets by
    // slot, valid until the next call. `last`: no other item of the type will be asked for, so that it needs no slot.
    std::span<const float> pick(std::size_t type, std::span<const double> feature, double rho,
                                std::span<const float> direction, bool last);

    // No picks.
    void clear() noexcept;

    // An upper bound of ρ − r of every item, where λ bounds the eigenvalues of Q.
    double bound(double most_eigenvalue) const noexcept;

  private:
    struct Slot {
        std::size_t type;
        double n_picks;
        double mean_length;
    };

    double shrinkage(const Slot& slot) const noexcept { return weight_ / (weight_ * slot.n_picks + ridge_); }
    float* mean(std::size_t slot) noexcept;
    std::size_t take_slot(std::size_t type);

    std::size_t dim_;
    double weight_;
    double ridge_;
    double feature_scale_;
    std::size_t n_types_;
    std::vector<std::uint32_t> slot_of_;  // by type; empty where types do not count
    std::vector<Slot> slots_;
    ScratchVector<double> sums_;      // (slots, D)
    ScratchVector<float> means_;      // packed blocks of 64 slots: (blocks, D, 64)
    ScratchVector<float> offsets_;    // of the last pick; whole blocks
    ScratchVector<float> backwards_;  // −direction of the last pick
};

}  // namespace karec
