// Greedy maximum a posteriori selection from a determinantal point process: relevant items that differ.
//
//   f_i   embedding, scaled to unit length (a zero vector stays zero)
//   q_i   weights_i · exp(alpha·(r_i − max r))
//   S     (1 − Σ w_f)·F Fᵀ + Σ_f w_f·[facet_f(i) = facet_f(j)]      `types` with `type_weight` are one of the facets
//   L     diag(q)·(S + ridge·I)·diag(q)
//
// Each step takes the item with the largest conditional gain d²_i = det L_{Y∪i} / det L_Y, ties by lowest index
// (L. Chen, G. Zhang, H. Zhou, "Fast Greedy MAP Inference for Determinantal Point Process to Improve Recommendation
// Diversity", NeurIPS 2018). d²_i = q_i²·ρ_i; an item with ρ_i ≤ 1e-6 of its first ρ_i, or with q_i² = 0, adds nothing
// and is passed over.
//
// Functions are reentrant, run on the calling thread, allocate their scratch, and never throw. The same input gives
// the same bits on every instruction set. Arrays must not change until a call returns: else its result is void, though
// it touches no memory outside them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "karec/array.hpp"
#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

// Gains are compared as float32 ρ·q² with the ridge in ρ: up to here that is as fine as the 1e-5·q² that selections are
// held to. A larger ridge leaves nothing of the embeddings anyway: ρ lies in [ridge, ridge + 1].
inline constexpr double kMostRidge = 10.0;

enum class DppFill {
    none,       // stop when no item adds anything
    relevance,  // go on with the remaining items by q, largest first, then by relevance, then lowest index
};

struct DppOptions {
    double alpha = 0.5;                   // ≥ 0; +inf = by relevance alone. See dpp_alpha
    double ridge = 1e-2;                  // in [0, kMostRidge]
    double type_weight = 0.0;             // in [0, 1]; above 0 it needs types
    std::span<const float> weights;       // (N,) ≥ 0, finite; empty = all 1
    std::span<const std::int64_t> types;  // (N,) any codes; empty = none
    // Further facets: facets[f·N + i] is the code of item i in facet f, any number; items of one code are alike by
    // facet_weights[f] ≥ 0. They and type_weight sum to at most 1.
    std::span<const std::int64_t> facets;        // (F, N); empty = none
    std::span<const double> facet_weights;       // (F,)
    std::span<const std::int64_t> shown_facets;  // (F, M) of what was shown; empty = that has no values, like none
    MatrixView shown{};                          // (M, D) items already seen, q = 1, of no type; M = 0 = none
    std::optional<std::size_t> window;           // ≥ 1: a gain counts only the last window − 1 picks (and all shown)
    std::optional<std::size_t> max_per_type;     // ≥ 1: at most so many picks of one type, fill included; needs types
    // At least so many of each type, as far as there are so many and k has places: once the places left are no more
    // than what is owed to some types, only those are picked from. At most max_per_type; needs types.
    std::size_t min_per_type = 0;
    DppFill fill = DppFill::relevance;
};

struct DppCount {
    std::size_t selected = 0;  // how many entries of `indices` and `gains` were written
    std::size_t n_dpp = 0;     // how many of them the greedy chose; the rest is fill, with gain 0
    double log_det = 0.0;      // Σ log gain over the first n_dpp: log det L_Y given `shown`, when there is no window
};

// (1 − diversity) / (2·diversity) for diversity in [0, 1]: 1 gives 0, 0 gives +inf (Chen 2018, θ = 1 − diversity).
KAREC_API double dpp_alpha(double diversity) noexcept;

// Selects min(k, N) of N items, k = indices.size() = gains.size() ≥ 1, from embeddings (N, D) and relevance (N,).
// Refuses: lengths that differ, vectors of another dtype than float16 and float32, non-finite input (naming the first),
// options out of range.
// O(N·k·D) at worst, without an N × N matrix; memory 4·N·D + 8·k·D bytes + O(N).
// With F facets, types among them: O(F·(N + M)) to find equal values, and per pick O(t·D + v + (D + s)²) more, for t
// earlier picks, v values of picks that other items have too, and s values of several picks. Memory 28·F·(N + M) +
// 12·t·D + 4·k·v + 16·(D + s)² bytes.
// With a window w: O(N·k·w·D) at worst, over the items that can still win.
// M rows of `shown` count as M more picks, for every item that can still win, and O(M·D·min(M, D)) to condition on
// them; memory 4·M·D + 8·D² bytes.
KAREC_API Result<DppCount> dpp_select(MatrixView embeddings, std::span<const float> relevance,
                                      const DppOptions& options, std::span<std::int64_t> indices,
                                      std::span<double> gains) noexcept;

// The same greedy on an explicit symmetric positive semi-definite kernel: L (N, N), row-major, N = n. No fill:
// `selected` is smaller than k when the kernel's rank (or window) gives no more. Refuses non-finite entries and a
// negative diagonal. O(N²) to check L, O(N·k²) to select (O(N·k·w) with a window); memory 8·N·min(k, w) bytes.
KAREC_API Result<DppCount> dpp_select_kernel(std::span<const double> kernel, std::size_t n,
                                             std::optional<std::size_t> window, std::span<std::int64_t> indices,
                                             std::span<double> gains) noexcept;

}  // namespace karec
