// Rows of MMR and SSD as features: φ_i = (g_i, √w_f at the coordinate of its value of each facet f), g_i the row's
// vector at length √(1 − Σ w_f), so that ⟨φ_i, φ_j⟩ is their similarity.
//
// Only values of counted rows have a coordinate (FacetValues). Those that no other row has share one, √(Σ of their
// w_f): no feature meets it, but directions of later rows do. So the width is D + at most F for each counted row, and
// not the number of values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "diversity/facet_values.hpp"
#include "diversity/facets.hpp"
#include "diversity/vector_rows.hpp"

namespace karec {

class FacetedRows {
  public:
    // Rows are the items of `embeddings`, then those of `shown`. Both, and the norms, must outlive it.
    FacetedRows(const VectorRows& embeddings, std::span<const double> squared_norms, const MatrixView& shown,
                Facets facets);

    double scale() const noexcept { return scale_; }
    // ‖φ‖² of an item.
    double squared_length(std::size_t item) const noexcept {
        return (squared_norms_[item] > 0.0 ? scale_ * scale_ : 0.0) + of_facets_;
    }

    // Counts a row, whose feature() it is until the next call. Returns the rows that got a slot by it.
    std::span<const SlotOfRow> count(std::size_t row);
    std::span<const double> feature() const noexcept { return feature_; }  // (D + slots,)

    std::size_t n_slots() const noexcept { return root_of_slot_.size(); }
    // √w_f of the slot's facet; 0 where no other row has its values.
    double root_weight(std::size_t slot) const noexcept { return root_of_slot_[slot]; }

  private:
    VectorRows embeddings_;
    std::span<const double> squared_norms_;
    VectorRows shown_;
    Facets facets_;
    FacetValues values_;
    double scale_;
    double of_facets_;
    std::vector<double> root_of_slot_;
    std::vector<double> feature_;
    std::vector<SlotOfRow> joined_;
};

}  // namespace karec
