// Fusion of the logits of several objectives into one score (definition: karec/models/fusion.py).
//
// Algorithm  sum: Σ_t w_t·p_t. product: Π_t (ε + p_t)^{w_t}. p_t = σ(logit of task t), logits cut at ±60.
// Cost       O(N·T) exponentials.
// Bits       sums are in the order of the tasks; exp and log are those of base/fixed_math.hpp: Python and C++ give the
//            same bits on every machine.
#pragma once

#include <span>

namespace karec {

enum class FusionKind { sum, product };

// Writes out (N,), the fused scores of logits (N, T). weights (T,), T ≥ 1: ≥ 0 with sum 1. A NaN logit gives NaN.
void fuse_logits(std::span<const double> logits, std::span<const double> weights, FusionKind kind,
                 std::span<float> out) noexcept;

}  // namespace karec
