// Conditional variance ρ of each row of a DPP, given picks and shown rows, by vectors and by facets.
//
// Algorithm  Row i has the features φ_i of feature_rows.hpp: S = Φ Φᵀ. With M = I − Φ_Yᵀ(Φ_Y Φ_Yᵀ + r·I)⁻¹Φ_Y for the
//            given rows Y and the ridge r, ρ_i = r + φ_iᵀM φ_i. Adding row j to Y takes u uᵀ from M, u = M φ_j/√ρ_j:
//            ρ_i falls by ⟨φ_i, u⟩². Facet values have far too many coordinates for a matrix M. Three cases:
//
//              not added      No row of Y has the value: M is the identity there, and φ_i has w_f for itself.
//              of one owner   One row s of Y has it. To other rows its √w_f is noise of s. With n_s = r + Σ w over the
//                             values that only s has, and φ'_s the features of s in coordinates of M, M has
//                             −√w_f/n_s·M φ'_s in the row of the value. So u is −√w_f/n_s·⟨φ'_s, u⟩ there.
//              shared         A second row with the value was added: it gets a coordinate of M from then on. M's new
//                             row is as above, its diagonal 1 − w_f/n_s + w_f/n_s²·⟨φ'_s, M φ'_s⟩, and n_s falls by
//                             w_f.
//
//            This is the posterior of a linear model with noise n_s (Woodbury's identity); it is exact. A coordinate
//            stays when its rows leave the window: M is the identity there again.
// Cost       O((D + s)·min(t, D + s)) a row for t given rows and s shared values, most of it in products of matrices
//            (DppResidual), O(t·D) for products of owners, O(1) a slot. Memory: 12·D bytes an owner, 16·(D + s)·min(t,
//            D + s).
// Source     M. A. Woodbury, "Inverting Modified Matrices", 1950.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/scratch.hpp"
#include "diversity/dpp_problem.hpp"
#include "diversity/dpp_residual.hpp"
#include "diversity/facet_slots.hpp"

namespace karec {

// u of a row: ρ_i falls by (⟨g_i, vector⟩ + Σ offsets[slot] over the values of i)². Values without a slot, or with a
// later one, have offset 0.
struct DppDirection {
    std::span<const float> vector;       // (D,)
    std::span<const float> offsets;      // by slot
    std::span<const SlotRow> slot_rows;  // rows of values that got a slot now
};

class DppConditionalVariance {
  public:
    explicit DppConditionalVariance(const DppProblem& problem);

    // Returns ρ of a row: an item or, from N on, a shown row. first_rho(): of the same row, given nothing.
    double rho(std::size_t row);
    double first_rho() const noexcept { return first_rho_; }

    // Adds the row of the last rho(), which returned `rho`. The direction is valid until the next call.
    DppDirection add(double rho, bool is_permanent);

    // Removes all rows but permanent ones.
    void clear_window();

    // Returns an upper bound of ρ − r of every item, given permanent rows only. O(D³), with more rows than dimensions:
    // as much as bound_cost() updates of a block by one direction.
    double bound();
    std::size_t bound_cost() const noexcept { return DppResidual::bound_cost(dim_); }

  private:
    static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

    struct Slot {
        std::uint32_t facet;
        std::uint32_t owner = kNone;       // in owners_
        std::uint32_t coordinate = kNone;  // from D on
    };
    struct Owner {
        bool is_permanent;
        std::size_t position;  // of its direction among the permanent ones, or those of the window
        double noise;
        double inverse_root;  // 1/√ρ
        std::size_t n_shared;
    };

    void share(Slot& slot);
    void widen();
    void write_owner_feature(std::size_t owner, std::span<double> out) const;
    bool add_values(std::size_t row);
    void add_owner(double inverse_root, bool is_permanent, std::size_t position);
    void set_offsets(std::size_t n_owners, double inverse_root);

    const DppProblem& problem_;
    std::size_t dim_;
    std::size_t width_;  // D + room for coordinates
    FacetSlots facet_slots_;
    std::vector<double> root_weights_;  // √w_f
    std::vector<Slot> slots_;
    std::size_t n_coordinates_ = 0;
    std::vector<Owner> owners_;  // permanent ones first
    std::size_t n_permanent_ = 0;
    ScratchVector<double> owner_vectors_;       // (owners, D)
    ScratchVector<float> packed_;               // the same in blocks of 64 owners: (blocks, D, 64)
    ScratchVector<std::uint32_t> owner_slots_;  // (owners, F): n_shared shared slots of each
    DppResidual permanent_;
    DppResidual window_;
    // Of the last rho().
    std::size_t row_ = 0;
    double first_rho_ = 0.0;
    double noise_ = 0.0;  // r + Σ w of the values without a coordinate
    std::vector<double> feature_;
    std::vector<double> direction_;
    std::vector<double> window_direction_;
    std::vector<double> owner_feature_;
    std::vector<float> vector_;
    ScratchVector<float> products_;  // of owners and the direction
    ScratchVector<float> offsets_;
    std::vector<SlotRow> slot_rows_;
};

}  // namespace karec
