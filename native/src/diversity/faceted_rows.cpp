#include "diversity/faceted_rows.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "diversity/feature_blocks.hpp"

namespace karec {

FacetedRows::FacetedRows(const VectorRows& embeddings, std::span<const double> squared_norms, const MatrixView& shown,
                         Facets facets)
    : embeddings_(embeddings),
      squared_norms_(squared_norms),
      shown_(shown),
      facets_(std::move(facets)),
      values_(facets_),
      scale_(facets_.feature_scale()),
      of_facets_(facets_.total()) {}

std::span<const SlotOfRow> FacetedRows::count(std::size_t row) {
    const std::size_t dim = embeddings_.cols;
    joined_.clear();
    feature_.assign(dim + n_slots(), 0.0);
    const std::span<double> vector = std::span(feature_).first(dim);
    if (row < embeddings_.rows) {
        scaled_row(embeddings_, row, length_factor(squared_norms_[row], scale_), vector);
    } else {
        scaled_row(shown_, row - embeddings_.rows, 1.0, vector);
        double squared_norm = 0.0;
        for (const double x : vector) squared_norm += x * x;
        for (double& x : vector) x *= length_factor(squared_norm, scale_);
    }
    double alone = 0.0;
    for (std::size_t f = 0; f < facets_.size(); ++f) {
        const double root = std::sqrt(facets_.weights[f]);
        std::uint32_t slot = values_.slot(f, row);
        if (slot == FacetValues::kNotCounted) {
            slot = values_.count(f, row, static_cast<std::uint32_t>(n_slots()), joined_);
            if (slot == n_slots()) {
                root_of_slot_.push_back(root);
                feature_.push_back(0.0);
            }
        }
        if (FacetValues::is_slot(slot)) feature_[dim + slot] = root;
        if (slot == FacetValues::kAlone) alone += facets_.weights[f];
    }
    if (alone > 0.0) {
        root_of_slot_.push_back(0.0);
        feature_.push_back(std::sqrt(alone));
    }
    return joined_;
}

}  // namespace karec
