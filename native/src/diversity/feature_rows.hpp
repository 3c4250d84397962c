// Rows of a selection as features: the N items, then the M items that were shown before.
//
//   φ_i = (g_i, √w_f at the coordinate of the row's value of facet f, for each facet)     ⟨φ_i, φ_j⟩ = S_ij
//
// g_i is the row's vector at length √(1 − Σ w_f). karec/dpp.hpp defines S.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "karec/array.hpp"
#include "karec/dpp.hpp"
#include "karec/status.hpp"

namespace karec {

// Read-only vectors that the caller owns: a matrix, or rows by address, as in an item index.
struct VectorRows {
    VectorRows() = default;
    VectorRows(const MatrixView& matrix)
        : rows(matrix.rows),
          cols(matrix.cols),
          dtype(matrix.dtype),
          first(static_cast<const std::byte*>(matrix.data)),
          stride(matrix.cols * size_of(matrix.dtype)) {}

    const std::byte* at(std::size_t row) const noexcept {
        return addresses.empty() ? first + row * stride : addresses[row];
    }

    // The row as float32: in place, or decoded into `scratch` (cols). Not for float16.
    const float* floats(std::size_t row, float* scratch) const noexcept;

    // out (cols) = factor · row.
    void scale_row(std::size_t row, double factor, std::span<double> out) const;

    std::size_t rows = 0;
    std::size_t cols = 0;
    DType dtype = DType::float32;  // float32, float16, or int8 with scales (index only)
    const std::byte* first = nullptr;
    std::size_t stride = 0;
    std::span<const std::byte* const> addresses;  // (rows,) replaces first and stride
    std::span<const float> scales;                // (rows,) of int8 rows
};

// Facets with a weight above 0: rows with equal codes are similar by the facet's weight.
struct Facets {
    std::size_t size() const noexcept { return weights.size(); }
    std::int64_t code(std::size_t facet, std::size_t row) const noexcept { return codes[facet * n_rows + row]; }

    std::size_t n_rows = 0;
    std::vector<double> weights;      // (F,)
    std::vector<std::int64_t> codes;  // (F, rows); undefined for shown rows without codes
    std::vector<bool> has_shown;      // (F,) shown rows have codes
};

// The factor that scales a row of this squared norm to `length`; 0 for a zero row.
double length_factor(double squared_norm, double length) noexcept;

// Checked rows. Caller arrays must not change while they are used; facets and norms are copies.
struct FeatureRows {
    // Refuses vectors and shown vectors that are not finite or differ in dimension, and facets of another shape or with
    // weights outside [0, 1]. `types` with type_weight above 0 are the first facet; shown rows have no type.
    static Result<FeatureRows> make(const VectorRows& items, const SelectionOptions& options, double type_weight = 0.0,
                                    std::span<const std::int64_t> types = {});

    std::size_t n_items() const noexcept { return items.rows; }
    std::size_t n_rows() const noexcept { return items.rows + shown.rows; }
    std::size_t dim() const noexcept { return items.cols; }

    // ‖φ‖² of an item.
    double squared_length(std::size_t item) const noexcept {
        return (squared_norms[item] > 0.0 ? vector_length * vector_length : 0.0) + facet_weight;
    }

    // out (D) = g of a row.
    void write_vector(std::size_t row, std::span<double> out) const;

    VectorRows items;
    VectorRows shown;
    std::vector<double> squared_norms;  // (N,) of the items' vectors
    Facets facets;
    double facet_weight = 0.0;   // Σ w_f
    double vector_length = 1.0;  // √(1 − Σ w_f)
};

// Refuses a column with another length than the items have.
Status check_item_column(const char* name, std::size_t length, const VectorRows& items);

}  // namespace karec
