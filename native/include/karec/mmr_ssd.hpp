// Diverse lists by vectors: maximal marginal relevance (MMR) and sliding spectrum decomposition (SSD).
//
// Both pick, place by place, the item with the largest score, ties by lowest index. With f_i the embeddings at unit
// length (a zero vector stays zero), r_i the relevance, on whatever scale the caller chose, and features φ_i of which
//
//   S_ij = ⟨φ_i, φ_j⟩ = (1 − Σ w_f)·⟨f_i, f_j⟩ + Σ_f w_f·[facet_f(i) = facet_f(j)]      without facets φ_i = f_i
//
//   mmr   (1 − diversity)·r_i − diversity·max_j S_ij              j: what was shown and the last window − 1 picks; the
//                                                                 maximum of nothing is 0
//         J. Carbonell, J. Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
//         Summaries", SIGIR 1998
//   ssd   (1 − diversity)·r_i + diversity·‖p_i‖                   p_i = φ_i − Σ_j ⟨φ_i, u_j⟩u_j, u_j = p_j/‖p_j‖ at
//                                                                 the moment when j was picked (modified
//                                                                 Gram–Schmidt), j as above
//         Y. Huang, W. Wang, L. Zhang, R. Xu, "Sliding Spectrum Decomposition for Diversified Recommendation", KDD
//         2021, in its form without the volume of what was picked, which vanishes along a list
//
// A p_i with ‖p_i‖² ≤ 1e-5 counts as 0. Functions are reentrant, run on the calling thread, allocate their scratch, and
// never throw. The same input gives the same bits on every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "karec/array.hpp"
#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

struct MmrSsdOptions {
    double diversity = 0.5;             // in [0, 1]; 0 = by relevance alone
    MatrixView shown{};                 // (M, D) items already seen; M = 0 = none
    std::optional<std::size_t> window;  // ≥ 1: only the last window − 1 picks (and all shown) count
    // As in DppOptions: codes of the items and of what was shown, and weights that sum to at most 1.
    std::span<const std::int64_t> facets;        // (F, N); empty = none
    std::span<const double> facet_weights;       // (F,)
    std::span<const std::int64_t> shown_facets;  // (F, M); empty = what was shown has no values, like no others
};

// Both select min(k, N) of N items, k = indices.size() = scores.size(), from embeddings (N, D) and relevance (N,),
// write them and the score that each had when it was picked, and return how many there are. They refuse lengths that
// differ, non-finite input (naming the first) and options out of range. O(N·k·D) at worst, O(N·k·(D + w)) with a window
// w; memory 4·N·D + 8·k·D bytes + O(N), with a window 4·N·w bytes more. With facets D is D + the values of what was
// picked and shown that other rows have too, at most F·(k + M), in what depends on k.
KAREC_API Result<std::size_t> mmr_select(MatrixView embeddings, std::span<const float> relevance,
                                         const MmrSsdOptions& options, std::span<std::int64_t> indices,
                                         std::span<double> scores) noexcept;
KAREC_API Result<std::size_t> ssd_select(MatrixView embeddings, std::span<const float> relevance,
                                         const MmrSsdOptions& options, std::span<std::int64_t> indices,
                                         std::span<double> scores) noexcept;

}  // namespace karec
