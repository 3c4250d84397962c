// The checked input of dpp_select, in the terms of the definition in karec/dpp.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "diversity/facets.hpp"
#include "diversity/vector_rows.hpp"
#include "karec/dpp.hpp"

namespace karec {

inline constexpr double kLeastShare = 1e-6;  // an item whose ρ is at or below this share of its first ρ adds nothing

struct DppProblem {
    VectorRows embeddings;
    std::vector<float> relevance;  // a copy: it does not change while the fill sorts by it
    double ridge = 0.0;
    double feature_scale = 1.0;  // √(1 − Σ weights of facets)
    Facets facets;               // `types` first where they count
    MatrixView shown{};
    std::vector<double> log_q;
    std::vector<double> q2;
    std::vector<double> first_rho;      // S_ii + ridge
    std::vector<double> squared_norms;  // ‖embedding‖²
    std::vector<std::int32_t> type_of;  // codes 0 … n_types − 1; empty where no quota reads types
    std::size_t n_types = 0;

    std::size_t n() const noexcept { return embeddings.rows; }
    std::size_t dim() const noexcept { return embeddings.cols; }

    // out (D) = the vector of a row at length feature_scale: of an item or, from N on, of what was shown. Returns the
    // row's ρ, given nothing.
    double feature(std::size_t row, std::span<double> out) const;
};

// Refuses relevance, weights, types and facets that are not of embeddings' length.
Status check_dpp_lengths(const VectorRows& embeddings, std::span<const float> relevance, const DppOptions& options);

Result<DppProblem> pose_dpp(const VectorRows& embeddings, std::span<const float> relevance, const DppOptions& options);

// dpp_select over a matrix or over rows of an index. Throws std::bad_alloc alone.
Result<DppCount> dpp_select_rows(const VectorRows& embeddings, std::span<const float> relevance,
                                 const DppOptions& options, std::span<std::int64_t> indices, std::span<double> gains);

}  // namespace karec
