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
using UnsignedVec = std::uint32_t __attribute__((vector_size(64)));

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

KAREC_INLINE void store_keys(__m256i high, __m256i low, std::uint64_t* keys) {
    const __m512i scores = _mm512_slli_epi64(_mm512_cvtepu32_epi64(high), 32);
    _mm512_storeu_si512(keys, _mm512_or_si512(scores, _mm512_cvtepu32_epi64(low)));
}

// Scores above the threshold are moved side by side in registers: a compressing store to memory is slower.
KAREC_INLINE std::size_t keep_vector(const float* scores, const std::int32_t* rows, std::uint32_t first,
                                     std::uint32_t threshold, std::uint64_t* keys) {
    __m512 score = _mm512_loadu_ps(scores);
    const __mmask16 nan = _mm512_cmp_ps_mask(score, score, _CMP_UNORD_Q);
    score = _mm512_add_ps(score, _mm512_setzero_ps());  // NOLINT(portability-simd-intrinsics)
    score = _mm512_mask_mov_ps(score, nan, _mm512_set1_ps(-std::numeric_limits<float>::infinity()));
    const __m512i bits = _mm512_castps_si512(score);
    const __m512i sign = _mm512_set1_epi32(std::numeric_limits<std::int32_t>::min());
    const __m512i ordered = _mm512_xor_si512(bits, _mm512_or_si512(_mm512_srai_epi32(bits, 31), sign));
    __mmask16 above = _mm512_cmpgt_epu32_mask(ordered, _mm512_set1_epi32(static_cast<int>(threshold)));
    if (rows != nullptr) {
        above &= static_cast<__mmask16>(~_mm512_movepi32_mask(_mm512_loadu_si512(rows)));
    }
    if (above == 0) return 0;
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i base = _mm512_set1_epi32(static_cast<int>(first));
    const __m512i positions = _mm512_add_epi32(base, lanes);  // NOLINT(portability-simd-intrinsics)
    const __m512i high = _mm512_maskz_compress_epi32(above, ordered);
    const __m512i low = _mm512_maskz_compress_epi32(above, positions);
    store_keys(_mm512_castsi512_si256(high), _mm512_castsi512_si256(low), keys);
    const auto kept = static_cast<std::size_t>(__builtin_popcount(above));
    if (kept > 8) {
        store_keys(_mm512_extracti64x4_epi64(high, 1), _mm512_extracti64x4_epi64(low, 1), keys + 8);
    }
    return kept;
}

KAREC_INLINE std::size_t count_vectors(const std::uint64_t* keys, std::uint64_t least) {
    const __m512i from = _mm512_set1_epi64(static_cast<std::int64_t>(least));
    const unsigned low = _mm512_cmpge_epu64_mask(_mm512_loadu_si512(keys), from);
    const unsigned high = _mm512_cmpge_epu64_mask(_mm512_loadu_si512(keys + 8), from);
    return static_cast<std::size_t>(__builtin_popcount(low | high << 8));
}

// Both vectors are read before either is written: `to` is not behind `keys`.
KAREC_INLINE std::size_t keep_vectors(const std::uint64_t* keys, std::uint64_t least, std::uint64_t* to) {
    const __m512i from = _mm512_set1_epi64(static_cast<std::int64_t>(least));
    const __m512i low = _mm512_loadu_si512(keys);
    const __m512i high = _mm512_loadu_si512(keys + 8);
    const __mmask8 in_low = _mm512_cmpge_epu64_mask(low, from);
    const __mmask8 in_high = _mm512_cmpge_epu64_mask(high, from);
    const auto n_low = static_cast<std::size_t>(__builtin_popcount(in_low));
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi64(in_low, low));
    _mm512_storeu_si512(to + n_low, _mm512_maskz_compress_epi64(in_high, high));
    return n_low + static_cast<std::size_t>(__builtin_popcount(in_high));
}

KAREC_INLINE IntVec ruled_out(IntVec live, Vec x, Vec threshold, IntVec kept) {
    const __mmask16 not_at_most = _mm512_cmp_ps_mask(x, threshold, _CMP_NLE_UQ);
    const auto bits = reinterpret_cast<__m512i>(live);
    return reinterpret_cast<IntVec>(_mm512_mask_and_epi32(bits, not_at_most, bits, reinterpret_cast<__m512i>(kept)));
}

// The place of a single bit is the exponent of its number as a float.
KAREC_INLINE Vec reached(const float* leaves, IntVec live) {
    const auto bits = reinterpret_cast<UnsignedVec>(live);
    const auto lowest = reinterpret_cast<__m512i>(bits & -bits);
    const __m512i exponent = _mm512_srli_epi32(_mm512_castps_si512(_mm512_cvtepu32_ps(lowest)), 23);
    const auto place = reinterpret_cast<__m512i>(reinterpret_cast<IntVec>(exponent) - 127);
    return _mm512_permutex2var_ps(_mm512_loadu_ps(leaves), place, _mm512_loadu_ps(leaves + 16));
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

#define KAREC_SELECT_VECTORS 1
#include "kernels/selection_loops.inc"

#include "kernels/diversity_loops.inc"

#include "kernels/matrix_loops.inc"

#include "kernels/bound_loops.inc"

#include "kernels/tree_loops.inc"

#if defined(KAREC_AMX)
#include "kernels/amx_loops.inc"
#endif

}  // namespace

const IsaTable table = {"avx512",          kScoringKernels, kLookupKernels, kSelectionKernels,
                        kDiversityKernels, kBoundKernels,   kTreeKernels};

}  // namespace karec::avx512

#if defined(KAREC_AMX)
namespace karec::amx {

const IsaTable table = {"amx",
                        avx512::kScoringKernels,
                        avx512::kLookupKernels,
                        avx512::kSelectionKernels,
                        avx512::kDiversityKernels,
                        avx512::kTileKernels,
                        avx512::kTreeKernels};

}  // namespace karec::amx
#endif
#endif
