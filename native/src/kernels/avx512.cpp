// Kernels for AVX-512 (F, VL, BW, DQ), and for it with AMX.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>
#include <limits>
#include <utility>

#include "base/fixed_math.hpp"
#include "kernels/isa_table.hpp"

#define KAREC_TARGET __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq")))
#define KAREC_INLINE __attribute__((always_inline, target("avx512f,avx512vl,avx512bw,avx512dq"))) inline
#define KAREC_LAMBDA __attribute__((always_inline, target("avx512f,avx512vl,avx512bw,avx512dq")))

namespace karec::avx512 {
namespace {

constexpr std::size_t kLanes = 16;
using Vec = float __attribute__((vector_size(64)));
using IntVec = std::int32_t __attribute__((vector_size(64)));

KAREC_INLINE Vec load_half(const std::uint16_t* at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

KAREC_INLINE Vec fused(Vec a, Vec b, Vec c) {
    return _mm512_fmadd_ps(a, b, c);
}

KAREC_INLINE Vec broadcast(float x) {
    return _mm512_set1_ps(x);
}

KAREC_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
    return fused(a, b, c);
}

KAREC_INLINE std::uint32_t not_below(Vec a, Vec b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ);
}

KAREC_INLINE std::uint32_t nonzero(const std::uint32_t* at) {
    const __m512i masks = _mm512_loadu_si512(at);
    return _mm512_test_epi32_mask(masks, masks);
}

KAREC_INLINE __m512d roots(__m512d x) {
    return _mm512_sqrt_pd(x);
}

KAREC_INLINE __m512d widened(const float* at) {
    return _mm512_cvtps_pd(_mm256_loadu_ps(at));
}

KAREC_INLINE IntVec madd(const std::int8_t* row, const std::int16_t* query) {
    const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)));
    return reinterpret_cast<IntVec>(_mm512_madd_epi16(wide, _mm512_loadu_si512(query)));
}

KAREC_INLINE unsigned equal_keys(const IdBucket& bucket, std::int64_t id) {
    return _mm512_cmpeq_epi64_mask(_mm512_load_si512(&bucket), _mm512_set1_epi64(id));
}

template <std::size_t Width, class V>
KAREC_INLINE V fold(V a, V b) {
    const auto x = reinterpret_cast<__m512>(a);
    const auto y = reinterpret_cast<__m512>(b);
    __m512 low;
    __m512 high;
    if constexpr (Width == 16) {
        low = _mm512_shuffle_f32x4(x, y, 0x44);
        high = _mm512_shuffle_f32x4(x, y, 0xEE);
    } else if constexpr (Width == 8) {
        low = _mm512_shuffle_f32x4(x, y, 0x88);
        high = _mm512_shuffle_f32x4(x, y, 0xDD);
    } else if constexpr (Width == 4) {
        low = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
        high = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
    } else {
        low = _mm512_shuffle_ps(x, y, 0x88);
        high = _mm512_shuffle_ps(x, y, 0xDD);
    }
    return reinterpret_cast<V>(low) + reinterpret_cast<V>(high);
}

#include "kernels/scoring_loops.inc"

#include "kernels/lookup_loops.inc"

#include "kernels/diversity_loops.inc"

#include "kernels/matrix_loops.inc"

#include "kernels/bound_loops.inc"

#if defined(KAREC_AMX)
#include "kernels/amx_loops.inc"
#endif

}  // namespace

const IsaTable table = {"avx512", kScoringKernels, kLookupKernels, kDiversityKernels, kBoundKernels};

}  // namespace karec::avx512

#if defined(KAREC_AMX)
namespace karec::amx {

const IsaTable table = {"amx", avx512::kScoringKernels, avx512::kLookupKernels, avx512::kDiversityKernels,
                        avx512::kTileKernels};

}  // namespace karec::amx
#endif
#endif
