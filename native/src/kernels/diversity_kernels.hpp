// The kernels of the selections that compare vectors (DPP, MMR, SSD). Names follow BLAS where BLAS has the operation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/scoring_kernels.hpp"

namespace karec {

// The most directions that one call of downdate_rho takes: a block is read once for all of them.
inline constexpr std::size_t kDirectionsAtOnce = 8;

struct DiversityKernels {
    // out[r] = ‖rows[r]‖² of n finite rows: eight partial sums, sum j over dimensions j, j + 8, …, and a tree.
    void (*squared_norms_float32)(const void* const* rows, std::size_t n, std::size_t dim, double* out);
    void (*squared_norms_float16)(const void* const* rows, std::size_t n, std::size_t dim, double* out);

    // block[d·kBlockItems + i] = rows[i][d]·scale/√squared_norms[i] for each of the kBlockItems rows, 0 where the norm
    // is 0. The factors are rounded to float32, unless one of the block's lies outside 2^±60: then all stay in float64.
    void (*pack_float32)(const void* const* rows, const double* squared_norms, double scale, std::size_t dim,
                         float* block);
    void (*pack_float16)(const void* const* rows, const double* squared_norms, double scale, std::size_t dim,
                         float* block);

    // For each of the n ≤ kDirectionsAtOnce directions (n, dim), in order: rho[i] -= (start[i] + Σ_d direction[d]·
    // block[d·kBlockItems + i])², d in order, each multiplication and addition rounded as one (std::fmaf). `start` is
    // (n, kBlockItems), or nullptr for zeros.
    void (*downdate_rho)(const float* block, std::size_t dim, const float* directions, std::size_t n,
                         const float* start, float* rho);

    // gains[i] = q2[i]·rho[i] where rho[i] > least[i], else 0; returns the largest of the kBlockItems.
    double (*gains)(const double* q2, const float* rho, const float* least, double* gains);

    // One step of classical Gram–Schmidt: parts[s] = ⟨direction s, feature⟩ and out = feature − Σ_s parts[s]·direction
    // s, for directions (n, dim), in order; returns Σ_s parts[s]².
    double (*gram_schmidt)(const double* directions, std::size_t n, std::size_t dim, const double* feature,
                           double* parts, double* out);

    // out (dim) = from (nullptr = zeros) − Σ_s parts[s]·direction s, in order, of directions `stride` apart; `out` may
    // be `from`.
    void (*gemv_minus)(const double* directions, std::size_t n, std::size_t stride, std::size_t dim, const double* from,
                       const double* parts, double* out);

    // Rank-1 downdate, matrix −= direction·directionᵀ, then out = matrix·feature, rows in order, in one pass over the
    // symmetric matrix; returns ⟨feature, feature − out⟩.
    double (*syr_downdate_symv)(const double* direction, std::size_t dim, double* matrix, const double* feature,
                                double* out);

    // out[i] = e^x[i] for x ≤ 0.
    void (*exps)(const double* x, std::size_t n, double* out);
};

}  // namespace karec
