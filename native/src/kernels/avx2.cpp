// Kernels for AVX2 + FMA + F16C.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>
#include <limits>
#include <utility>

#include "base/fixed_math.hpp"
#include "kernels/isa_table.hpp"

#define KAREC_TARGET __attribute__((target("avx2,fma,f16c")))
#define KAREC_INLINE __attribute__((always_inline, target("avx2,fma,f16c"))) inline
#define KAREC_LAMBDA __attribute__((always_inline, target("avx2,fma,f16c")))

namespace karec::avx2 {
namespace {

constexpr std::size_t kLanes = 8;
using Vec = float __attribute__((vector_size(32)));
using IntVec = std::int32_t __attribute__((vector_size(32)));
using UnsignedVec = std::uint32_t __attribute__((vector_size(32)));

KAREC_INLINE Vec load_half(const std::uint16_t* at) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

KAREC_INLINE Vec fused(Vec a, Vec b, Vec c) {
    return _mm256_fmadd_ps(a, b, c);
}

KAREC_INLINE Vec broadcast(float x) {
    return _mm256_set1_ps(x);
}

KAREC_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
    return fused(a, b, c);
}

KAREC_INLINE std::uint32_t not_below(Vec a, Vec b) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ)));
}

KAREC_INLINE std::uint32_t nonzero(const std::uint32_t* at) {
    const __m256i masks = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    const __m256i zero = _mm256_cmpeq_epi32(masks, _mm256_setzero_si256());
    return 0xFFu & ~static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(zero)));
}

KAREC_INLINE __m256d roots(__m256d x) {
    return _mm256_sqrt_pd(x);
}

KAREC_INLINE __m256d widened(const float* at) {
    return _mm256_cvtps_pd(_mm_loadu_ps(at));
}

KAREC_INLINE IntVec madd(const std::int8_t* row, const std::int16_t* query) {
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
    return reinterpret_cast<IntVec>(
        _mm256_madd_epi16(wide, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query))));
}

KAREC_INLINE unsigned equal_keys(const IdBucket& bucket, std::int64_t id) {
    const __m256i keys = _mm256_load_si256(reinterpret_cast<const __m256i*>(bucket.keys));
    const __m256i equal = _mm256_cmpeq_epi64(keys, _mm256_set1_epi64x(id));
    return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(equal))) | unsigned{bucket.keys[4] == id} << 4;
}

KAREC_INLINE IntVec ruled_out(IntVec live, Vec x, Vec threshold, IntVec kept) {
    return live & ((x <= threshold) | kept);
}

// The place of a single bit is the exponent of its number as a float; of bit 31 that number is negative.
KAREC_INLINE Vec reached(const float* leaves, IntVec live) {
    const auto live_bits = reinterpret_cast<UnsignedVec>(live);
    const auto lowest = reinterpret_cast<__m256i>(live_bits & -live_bits);
    const __m256i bits = _mm256_castps_si256(_mm256_cvtepi32_ps(lowest));
    const auto exponent = reinterpret_cast<IntVec>(_mm256_srli_epi32(bits, 23));
    return _mm256_i32gather_ps(leaves, reinterpret_cast<__m256i>((exponent - 127) & 31), sizeof *leaves);
}

template <std::size_t Width, class V>
KAREC_INLINE V fold(V a, V b) {
    const auto x = reinterpret_cast<__m256>(a);
    const auto y = reinterpret_cast<__m256>(b);
    __m256 low;
    __m256 high;
    if constexpr (Width == 8) {
        low = _mm256_permute2f128_ps(x, y, 0x20);
        high = _mm256_permute2f128_ps(x, y, 0x31);
    } else if constexpr (Width == 4) {
        low = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(x), _mm256_castps_pd(y)));
        high = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(x), _mm256_castps_pd(y)));
    } else {
        low = _mm256_shuffle_ps(x, y, 0x88);
        high = _mm256_shuffle_ps(x, y, 0xDD);
    }
    return reinterpret_cast<V>(low) + reinterpret_cast<V>(high);
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

const IsaTable table = {"avx2",        kScoringKernels, kLookupKernels, kSelectionKernels, kDiversityKernels,
                        kBoundKernels, kTreeKernels};

}  // namespace karec::avx2
#endif
