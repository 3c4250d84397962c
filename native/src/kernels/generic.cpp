// Kernels in 16-byte vectors, for any machine.
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/fixed_math.hpp"
#include "kernels/fma.hpp"
#include "kernels/isa_table.hpp"

#define KAREC_TARGET
#define KAREC_INLINE __attribute__((always_inline)) inline
#define KAREC_LAMBDA __attribute__((always_inline))

namespace karec::generic {
namespace {

constexpr std::size_t kLanes = 4;
using Vec = float __attribute__((vector_size(16)));
using IntVec = std::int32_t __attribute__((vector_size(16)));
using Bits = std::uint32_t __attribute__((vector_size(16)));

// half_to_float (half.hpp) of four at once; rows hold neither infinity nor NaN.
KAREC_INLINE Vec load_half(const std::uint16_t* at) {
    const Bits half = {at[0], at[1], at[2], at[3]};
    const Bits shifted = (half & 0x7FFFu) << 13;
    const Bits normal = shifted + 0x38000000u;
    const Bits one_up = shifted + 0x38800000u;
    const Bits offset = Bits{} + 0x38800000u;
    Vec scaled;
    Vec base;
    std::memcpy(&scaled, &one_up, sizeof scaled);
    std::memcpy(&base, &offset, sizeof base);
    scaled = scaled - base;
    Bits subnormal;
    std::memcpy(&subnormal, &scaled, sizeof subnormal);
    const Bits bits = (shifted < 0x00800000u ? subnormal : normal) | (half & 0x8000u) << 16;
    Vec v;
    std::memcpy(&v, &bits, sizeof v);
    return v;
}

using karec::fused;

KAREC_INLINE Vec broadcast(float x) {
    return Vec{x, x, x, x};
}

// Rounded once where the compiler's target has the instruction.
KAREC_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
#if defined(__FMA__) || defined(__aarch64__)
    return fused(a, b, c);
#else
    return a * b + c;
#endif
}

KAREC_INLINE std::uint32_t not_below(Vec a, Vec b) {
    std::uint32_t bits = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) bits |= static_cast<std::uint32_t>(!(a[lane] < b[lane])) << lane;
    return bits;
}

KAREC_INLINE std::uint32_t nonzero(const std::uint32_t* at) {
    std::uint32_t bits = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) bits |= static_cast<std::uint32_t>(at[lane] != 0) << lane;
    return bits;
}

using TwoDoubles = double __attribute__((vector_size(16)));
KAREC_INLINE TwoDoubles widened(const float* at) {
    return TwoDoubles{at[0], at[1]};
}

KAREC_INLINE TwoDoubles roots(TwoDoubles x) {
    return TwoDoubles{std::sqrt(x[0]), std::sqrt(x[1])};
}

KAREC_INLINE IntVec madd(const std::int8_t* row, const std::int16_t* query) {
    IntVec sums;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
        sums[lane] = row[2 * lane] * query[2 * lane] + row[2 * lane + 1] * query[2 * lane + 1];
    }
    return sums;
}

KAREC_INLINE unsigned equal_keys(const IdBucket& bucket, std::int64_t id) {
    unsigned equal = 0;
    for (unsigned slot = 0; slot < IdBucket::kSlots; ++slot) equal |= unsigned{bucket.keys[slot] == id} << slot;
    return equal;
}

KAREC_INLINE IntVec ruled_out(IntVec live, Vec x, Vec threshold, IntVec kept) {
    return live & ((x <= threshold) | kept);
}

KAREC_INLINE Vec reached(const float* leaves, IntVec live) {
    Vec values;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
        values[lane] = leaves[__builtin_ctz(static_cast<std::uint32_t>(live[lane]) | 1u << 31)];
    }
    return values;
}

template <std::size_t Width, class V>
KAREC_INLINE V fold(V a, V b) {
    if constexpr (Width == 4)
        return __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
    return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
}

#include "kernels/scoring_loops.inc"

#include "kernels/lookup_loops.inc"

#define KAREC_SELECT_VECTORS 0
#include "kernels/selection_loops.inc"

#include "kernels/diversity_loops.inc"

#include "kernels/matrix_loops.inc"

#include "kernels/bound_loops.inc"

#include "kernels/tree_loops.inc"

}  // namespace

const IsaTable table = {"generic",         kScoringKernels, kLookupKernels, kSelectionKernels,
                        kDiversityKernels, kBoundKernels,   kTreeKernels};

}  // namespace karec::generic
