// Diverse lists by vectors: maximal marginal relevance (MMR) and sliding spectrum decomposition (SSD).
//
// Algorithm  Each step picks the item with the largest score, ties by lowest index. r_i is the relevance on
//            the caller's scale. S is the similarity of karec/dpp.hpp, and S_ij = ⟨φ_i, φ_j⟩ (φ_i = f_i without
//            facets).
//
//   mmr   (1 − diversity)·r_i − diversity·max_j S_ij     j: shown items and the last window − 1 picks; the maximum over
//                                                        no items is 0
//   ssd   (1 − diversity)·r_i + diversity·‖p_i‖          p_i = φ_i − Σ_j ⟨φ_i, u_j⟩u_j, with u_j = p_j/‖p_j‖ when j was
//                                                        picked (modified Gram–Schmidt), j as for MMR. The score
//                                                        omits the volume of picks, which tends to 0. A p_i with
//                                                        ‖p_i‖² ≤ 1e-5 counts as 0
//
// Threads    Functions are reentrant, run on the calling thread and allocate their scratch. They never throw. The same
//            input gives the same bits on every instruction set.
// Source     J. Carbonell, J. Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and
//            Producing Summaries", SIGIR 1998. Y. Huang, W. Wang, L. Zhang, R. Xu, "Sliding Spectrum Decomposition for
//            Diversified Recommendation", KDD 2021.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "karec/dpp.hpp"

namespace karec {

struct MmrSsdOptions : SelectionOptions {
    double diversity = 0.5;  // in [0, 1]; 0 = by relevance only
};

// Both select min(k, N) of N items, k = indices.size() = scores.size(), from embeddings (N, D) and relevance (N,). They
// write the items and the score of each when it was picked, and return their number. They refuse lengths that differ,
// non-finite input (with the first position) and options out of range.
// Cost: O(N·k·D) at worst, O(N·k·(D + w)) with a window w. Memory: 4·N·D + 8·k·D bytes + O(N), with a window 4·N·w
// bytes more. With facets, D of each pick and shown item is D + the values that picks and shown items share with other
// rows, at most F·(k + M).
KAREC_API Result<std::size_t> mmr_select(MatrixView embeddings, std::span<const float> relevance,
                                         const MmrSsdOptions& options, std::span<std::int64_t> indices,
                                         std::span<double> scores) noexcept;
KAREC_API Result<std::size_t> ssd_select(MatrixView embeddings, std::span<const float> relevance,
                                         const MmrSsdOptions& options, std::span<std::int64_t> indices,
                                         std::span<double> scores) noexcept;

}  // namespace karec
