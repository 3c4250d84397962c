// Greedy maximum a posteriori selection from a determinantal point process: relevant items that differ.
//
//   f_i   embedding, scaled to unit length (a zero vector stays zero)
//   q_i   weights_i · exp(alpha·(r_i − max r))
//   S     (1 − Σ w_f)·F Fᵀ + Σ_f w_f·[facet_f(i) = facet_f(j)]      `types` with `type_weight` are one of the facets
//   L     diag(q)·(S + ridge·I)·diag(q)
//
// Algorithm  Each step takes the item with the largest conditional gain d²_i = det L_{Y∪i} / det L_Y, ties by lowest
//            index. d²_i = q_i²·ρ_i; an item with ρ_i ≤ 1e-6 of its first ρ_i, or with q_i² = 0, adds nothing and is
//            passed over.
// Threads    Functions are reentrant, run on the calling thread and allocate their scratch. They never throw. The same
//            input gives the same bits on every instruction set. Do not modify arrays during a call: results become
//            undefined, but no access leaves the arrays.
// Source     L. Chen, G. Zhang, H. Zhou, "Fast Greedy MAP Inference for Determinantal Point Process to Improve
//            Recommendation Diversity", NeurIPS 2018.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "karec/array.hpp"
#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

// Gains are compared as float32 ρ·q²: up to this ridge, errors are within 1e-5·q². ρ is in [ridge, ridge + 1], so that
// a larger ridge hides the differences between embeddings.
inline constexpr double kMaxRidge = 10.0;

enum class DppFill {
    none,       // stop when no item adds anything
    relevance,  // continue with the remaining items by q, largest first, then by relevance, then lowest index
};

// Options that DPP, MMR and SSD share.
struct SelectionOptions {
    MatrixView shown{};                 // (M, D) items already seen; M = 0 = none
    std::optional<std::size_t> window;  // ≥ 1: only the last window − 1 picks (and all shown items) count
    // facets[f·N + i] is the code of item i in facet f, any value; items with equal codes are similar by
    // facet_weights[f] ≥ 0. The weights, with type_weight, sum to at most 1.
    std::span<const std::int64_t> facets;        // (F, N); empty = none
    std::span<const double> facet_weights;       // (F,)
    std::span<const std::int64_t> shown_facets;  // (F, M) codes of shown items; empty = they have none
};

struct DppOptions : SelectionOptions {
    double alpha = 0.5;                       // ≥ 0; +inf = by relevance only. See dpp_alpha
    double ridge = 1e-2;                      // in [0, kMaxRidge]
    double type_weight = 0.0;                 // in [0, 1]; above 0 it needs types
    std::span<const float> weights;           // (N,) ≥ 0, finite; empty = all 1
    std::span<const std::int64_t> types;      // (N,) any codes; empty = none. Shown items have q = 1 and no type
    std::optional<std::size_t> max_per_type;  // ≥ 1: maximum number of picks of one type, fill included; needs types
    // Minimum number of picks of each type, if it has enough items. If the missing items equal the free positions, only
    // items of types that miss some are picked. At most max_per_type; needs types.
    std::size_t min_per_type = 0;
    DppFill fill = DppFill::relevance;
};

struct DppCount {
    std::size_t selected = 0;  // entries of `indices` and `gains` that were written
    std::size_t n_dpp = 0;     // picks of the DPP; the others are fill, with gain 0
    double log_det = 0.0;      // Σ log gain over the first n_dpp; without a window log det L_Y, given shown items
};

// (1 − diversity) / (2·diversity) for diversity in [0, 1]: 1 gives 0, 0 gives +inf (Chen 2018, θ = 1 − diversity).
KAREC_API double dpp_alpha(double diversity) noexcept;

// Selects min(k, N) of N items, k = indices.size() = gains.size() ≥ 1, from embeddings (N, D) and relevance (N,).
// Refuses: lengths that differ, vectors of another dtype than float16 and float32, non-finite input (with the first
// position), options out of range.
// Cost: O(N·k·D) at worst, O(N·k·w·D) with a window w, over the items that can still win. Memory: 4·N·D + 8·k·D bytes +
// O(N), no N × N matrix. M rows of `shown` cost as much as M more picks, and O(M·D·min(M, D)); memory 4·M·D + 8·D²
// bytes. F facets, with types, cost O(F·(N + M)), and for each pick O(t·D + v + (D + s)²), for t earlier picks, v
// values that picks share with other items, and s values of several picks. Memory: 28·F·(N + M) + 12·t·D + 4·k·v +
// 16·(D + s)² bytes.
KAREC_API Result<DppCount> dpp_select(MatrixView embeddings, std::span<const float> relevance,
                                      const DppOptions& options, std::span<std::int64_t> indices,
                                      std::span<double> gains) noexcept;

// Selects by an explicit symmetric positive semi-definite kernel L (N, N), row-major, N = n. Without a fill: `selected`
// is smaller than k if the kernel's rank (or window) gives no more. Refuses non-finite entries and a negative diagonal.
// Cost: O(N²) to check L and O(N·k²), with a window w O(N·k·w). Memory: 8·N·min(k, w) bytes.
KAREC_API Result<DppCount> dpp_select_kernel(std::span<const double> kernel, std::size_t n,
                                             std::optional<std::size_t> window, std::span<std::int64_t> indices,
                                             std::span<double> gains) noexcept;

}  // namespace karec
