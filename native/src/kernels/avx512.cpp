// Kernels for AVX-512 (F, VL, BW, DQ), and for AVX-512 with AVX512-BF16 or AMX.
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels/isa.hpp"

#define KAREC_TARGET __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq")))

namespace karec::avx512 {
namespace {

struct Isa {
    static constexpr const char* kName = "avx512";
    static constexpr std::size_t kLanes = 16;
    static constexpr bool kHasFma = true;
    using Vec = float __attribute__((vector_size(64)));
    using IntVec = std::int32_t __attribute__((vector_size(64)));
    using Doubles = double __attribute__((vector_size(64)));
    using UnsignedVec = std::uint32_t __attribute__((vector_size(64)));

    static KAREC_INLINE Vec load_half(const std::uint16_t* from) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    }

    static KAREC_INLINE Vec fused(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }

    static KAREC_INLINE std::uint32_t not_below(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }

    static KAREC_INLINE Doubles load_doubles(const float* from) { return _mm512_cvtps_pd(_mm256_loadu_ps(from)); }

    static KAREC_INLINE Doubles roots(Doubles x) { return _mm512_sqrt_pd(x); }

    static KAREC_INLINE IntVec madd(const std::int8_t* row, const std::int16_t* query) {
        const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)));
        return reinterpret_cast<IntVec>(_mm512_madd_epi16(wide, _mm512_loadu_si512(query)));
    }

    static KAREC_INLINE unsigned equal_keys(const IdBucket& bucket, std::int64_t id) {
        return _mm512_cmpeq_epi64_mask(_mm512_load_si512(&bucket), _mm512_set1_epi64(id));
    }

    static KAREC_INLINE void store_keys(__m256i high, __m256i low, std::uint64_t* keys) {
        const __m512i scores = _mm512_slli_epi64(_mm512_cvtepu32_epi64(high), 32);
        _mm512_storeu_si512(keys, _mm512_or_si512(scores, _mm512_cvtepu32_epi64(low)));
    }

    // Selected scores are moved together in registers: a compressing store to memory is slower.
    static KAREC_INLINE std::size_t select_scores(const float* scores, const std::int32_t* rows, std::size_t n,
                                                  std::uint32_t first, std::uint32_t threshold, std::uint64_t* keys,
                                                  std::size_t& n_selected) {
        const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i sign = _mm512_set1_epi32(std::numeric_limits<std::int32_t>::min());
        std::size_t i = 0;
        for (; i + kLanes <= n; i += kLanes) {
            __m512 score = _mm512_loadu_ps(scores + i);
            const __mmask16 nan = _mm512_cmp_ps_mask(score, score, _CMP_UNORD_Q);
            score = _mm512_add_ps(score, _mm512_setzero_ps());  // NOLINT(portability-simd-intrinsics)
            score = _mm512_mask_mov_ps(score, nan, _mm512_set1_ps(-std::numeric_limits<float>::infinity()));
            const __m512i bits = _mm512_castps_si512(score);
            const __m512i ordered = _mm512_xor_si512(bits, _mm512_or_si512(_mm512_srai_epi32(bits, 31), sign));
            __mmask16 above = _mm512_cmpgt_epu32_mask(ordered, _mm512_set1_epi32(static_cast<int>(threshold)));
            if (rows != nullptr) {
                above &= static_cast<__mmask16>(~_mm512_movepi32_mask(_mm512_loadu_si512(rows + i)));
            }
            if (above == 0) continue;
            const __m512i base = _mm512_set1_epi32(static_cast<int>(first + static_cast<std::uint32_t>(i)));
            const __m512i positions = _mm512_add_epi32(base, lanes);  // NOLINT(portability-simd-intrinsics)
            const __m512i high = _mm512_maskz_compress_epi32(above, ordered);
            const __m512i low = _mm512_maskz_compress_epi32(above, positions);
            std::uint64_t* to = keys + n_selected;
            store_keys(_mm512_castsi512_si256(high), _mm512_castsi512_si256(low), to);
            const auto count = static_cast<std::size_t>(__builtin_popcount(above));
            if (count > 8) store_keys(_mm512_extracti64x4_epi64(high, 1), _mm512_extracti64x4_epi64(low, 1), to + 8);
            n_selected += count;
        }
        return i;
    }

    static KAREC_INLINE std::size_t count_keys(const std::uint64_t* keys, std::size_t n, std::uint64_t min_key,
                                               std::size_t& count) {
        const __m512i cut = _mm512_set1_epi64(static_cast<std::int64_t>(min_key));
        std::size_t i = 0;
        for (; i + 16 <= n; i += 16) {
            const unsigned low = _mm512_cmpge_epu64_mask(_mm512_loadu_si512(keys + i), cut);
            const unsigned high = _mm512_cmpge_epu64_mask(_mm512_loadu_si512(keys + i + 8), cut);
            count += static_cast<std::size_t>(__builtin_popcount(low | high << 8));
        }
        return i;
    }

    // Both vectors are read before either is written: the keys that are moved are not behind those that are read.
    static KAREC_INLINE std::size_t select_keys(std::uint64_t* keys, std::size_t n, std::uint64_t min_key,
                                                std::size_t& n_selected) {
        const __m512i cut = _mm512_set1_epi64(static_cast<std::int64_t>(min_key));
        std::size_t i = 0;
        for (; i + 16 <= n; i += 16) {
            const __m512i low = _mm512_loadu_si512(keys + i);
            const __m512i high = _mm512_loadu_si512(keys + i + 8);
            const __mmask8 in_low = _mm512_cmpge_epu64_mask(low, cut);
            const __mmask8 in_high = _mm512_cmpge_epu64_mask(high, cut);
            const auto n_low = static_cast<std::size_t>(__builtin_popcount(in_low));
            _mm512_storeu_si512(keys + n_selected, _mm512_maskz_compress_epi64(in_low, low));
            _mm512_storeu_si512(keys + n_selected + n_low, _mm512_maskz_compress_epi64(in_high, high));
            n_selected += n_low + static_cast<std::size_t>(__builtin_popcount(in_high));
        }
        return i;
    }

    // The place of a single bit is the exponent of its number as a float.
    static KAREC_INLINE Vec first_leaves(const float* leaves, IntVec live) {
        const auto bits = reinterpret_cast<UnsignedVec>(live);
        const auto lowest = reinterpret_cast<__m512i>(bits & -bits);
        const __m512i exponent = _mm512_srli_epi32(_mm512_castps_si512(_mm512_cvtepu32_ps(lowest)), 23);
        const auto place = reinterpret_cast<__m512i>(reinterpret_cast<IntVec>(exponent) - 127);
        return _mm512_permutex2var_ps(_mm512_loadu_ps(leaves), place, _mm512_loadu_ps(leaves + 16));
    }
};

#include "kernels/loops.inc"

#if defined(KAREC_BFLOAT16)
#include "kernels/bf16_loops.inc"

#include "kernels/amx_loops.inc"
#endif

}  // namespace

const Kernels table = kKernels;

}  // namespace karec::avx512

#if defined(KAREC_BFLOAT16)
namespace karec::avx512bf16 {

constinit const Kernels table = with_bounds("avx512bf16", avx512::kRoundedKernels, avx512::kKernels);

}  // namespace karec::avx512bf16

namespace karec::amx {

constinit const Kernels table = with_bounds("amx", avx512::kTileKernels, avx512::kKernels);

}  // namespace karec::amx
#endif
#endif
