// What the counted rows of a DPP (picks, and what was shown) explain of other rows, by vectors and by facets.
//
// Row i has the features φ_i = (g_i, √w_f at the coordinate of its value of each facet f), g_i its vector at length
// √(1 − Σ w_f): S = Φ Φᵀ. With M = I − Φ_Yᵀ(Φ_Y Φ_Yᵀ + r·I)⁻¹Φ_Y for the counted rows Y and r the ridge, ρ_i = r +
// φ_iᵀM φ_i, and counting row j takes u uᵀ from M, u = M φ_j/√ρ_j: ρ_i falls by ⟨φ_i, u⟩².
//
// Values have far too many coordinates for M to be held. Three kinds:
//
//   not counted    no row of Y has the value: M is the identity there, and φ_i has w_f for itself.
//   of one owner   one row s of Y has it. To the other rows its √w_f is noise of s: with n_s = r + Σ w over the values
//                  that only s has, and φ'_s the features of s in the coordinates that are held, M has −√w_f/n_s·M φ'_s
//                  in the row of the value. So u needs no coordinate there: it is −√w_f/n_s·⟨φ'_s, u⟩.
//   shared         a second row with the value is asked for: it gets a coordinate of M from then on. M's new row is
//                  as above, its diagonal 1 − w_f/n_s + w_f/n_s²·⟨φ'_s, M φ'_s⟩, and n_s falls by w_f.
//
// This is the posterior of a linear model with noise n_s, in which the value of one row is its own noise (Woodbury's
// identity); it is exact. A coordinate stays, also when its rows are no longer counted: then M is the identity there.
//
// Cost of a row: O((D + s)·min(t, D + s)) for t counted rows and s shared values, most of it in products of matrices
// (Residual), O(t·D) for the owners' products, O(1) a slot. Memory: 12·D bytes an owner, 16·(D + s)·min(t, D + s).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/scratch.hpp"
#include "diversity/dpp_problem.hpp"
#include "diversity/facet_values.hpp"
#include "diversity/residual.hpp"

namespace karec {

// u of a counted row: ρ_i falls by (⟨g_i, vector⟩ + Σ offsets[slot] over i's values)². Values without a slot, and with
// a later one, have offset 0.
struct DppDirection {
    std::span<const float> vector;      // (D,)
    std::span<const float> offsets;     // by slot
    std::span<const SlotOfRow> joined;  // the rows of values that got a slot now
};

class Explained {
  public:
    explicit Explained(const DppProblem& problem);

    // ρ of a row: an item, or, from N on, one of what was shown. first_rho(): of the same row, given nothing.
    double rho(std::size_t row);
    double first_rho() const noexcept { return first_rho_; }

    // Counts the row of the last rho(), which it returned. The direction is valid until the next call of anything here.
    DppDirection count(double rho, bool permanent);

    // Counts only permanent rows from now on.
    void clear_passing();

    // An upper bound of ρ − r of every item, while no passing rows count; O(D³), with more rows counted than D:
    // price_of_bound() updates of a block by one direction.
    double bound();
    std::size_t price_of_bound() const noexcept { return Residual::price_of_bound(dim_); }

  private:
    static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

    struct Slot {
        std::uint32_t facet;
        std::uint32_t owner = kNone;       // in owners_
        std::uint32_t coordinate = kNone;  // from D on
    };
    struct Owner {
        bool permanent;
        std::size_t place;  // of its direction among the permanent, or the passing ones
        double noise;
        double inverse_root;  // 1/√ρ
        std::size_t n_shared;
    };

    void share(Slot& slot);
    void widen();
    void own_features(std::size_t owner, std::span<double> out) const;
    bool own_values(std::size_t row);
    void add_owner(double inverse_root, bool permanent, std::size_t place);
    void set_offsets(std::size_t n_owners, double inverse_root);

    const DppProblem& problem_;
    std::size_t dim_;
    std::size_t width_;  // D + room for coordinates
    FacetValues values_;
    std::vector<double> root_weights_;
    std::vector<Slot> slots_;
    std::vector<std::size_t> n_shared_;  // values with a coordinate, by facet
    std::size_t n_coordinates_ = 0;
    std::vector<Owner> owners_;
    std::size_t n_permanent_ = 0;               // owners that are permanent: the first ones
    ScratchVector<double> owner_vectors_;       // (owners, D)
    ScratchVector<float> packed_;               // the same in blocks of 64 owners: (blocks, D, 64)
    ScratchVector<std::uint32_t> owner_slots_;  // (owners, F): the shared ones of each
    Residual permanent_;
    Residual passing_;
    std::size_t row_ = 0;  // of the last rho(), and its
    double first_rho_ = 0.0;
    double noise_ = 0.0;  // r + Σ w of its values that have no coordinate
    std::vector<double> features_;
    std::vector<double> direction_;
    std::vector<double> of_passing_;
    std::vector<double> of_owner_;
    std::vector<float> vector_;
    ScratchVector<float> products_;  // of owners with the direction
    ScratchVector<float> offsets_;
    std::vector<SlotOfRow> joined_;
};

}  // namespace karec
