// The checked input of dpp_select, in the terms of the definition in karec/dpp.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "diversity/feature_rows.hpp"
#include "karec/dpp.hpp"

namespace karec {

inline constexpr double kMinGainFraction = 1e-6;  // an item adds nothing if ρ is at most this fraction of its first ρ

struct DppProblem {
    // Copies relevance and weights: the values that are checked are the values that are used.
    static Result<DppProblem> make(const VectorRows& items, std::span<const float> relevance,
                                   const DppOptions& options);

    std::size_t n() const noexcept { return rows.n_items(); }
    std::size_t dim() const noexcept { return rows.dim(); }

    // out (D) = the row's vector g. Returns ρ of an item or shown row, given nothing.
    double feature(std::size_t row, std::span<double> out) const;

    FeatureRows rows;
    std::vector<float> relevance;
    double ridge = 0.0;
    std::vector<double> log_q;
    std::vector<double> q2;
    std::vector<double> first_rho;  // S_ii + ridge
};

// dpp_select over a matrix or over rows of an index. Throws only std::bad_alloc.
Result<DppCount> dpp_select_rows(const VectorRows& items, std::span<const float> relevance, const DppOptions& options,
                                 std::span<std::int64_t> indices, std::span<double> gains);

}  // namespace karec
