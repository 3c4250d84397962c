// Kernels for AVX2 + FMA + F16C.
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels/isa.hpp"

#define KAREC_TARGET __attribute__((target("avx2,fma,f16c")))

namespace karec::avx2 {
namespace {

struct Isa : NoSelection {
    static constexpr const char* kName = "avx2";
    static constexpr std::size_t kLanes = 8;
    static constexpr bool kHasFma = true;
    using Vec = float __attribute__((vector_size(32)));
    using IntVec = std::int32_t __attribute__((vector_size(32)));
    using Doubles = double __attribute__((vector_size(32)));
    using UnsignedVec = std::uint32_t __attribute__((vector_size(32)));

    static KAREC_INLINE Vec load_half(const std::uint16_t* from) {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    }

    static KAREC_INLINE Vec fused(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }

    static KAREC_INLINE std::uint32_t not_below(Vec a, Vec b) {
        return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ)));
    }

    static KAREC_INLINE Doubles load_doubles(const float* from) { return _mm256_cvtps_pd(_mm_loadu_ps(from)); }

    static KAREC_INLINE Doubles roots(Doubles x) { return _mm256_sqrt_pd(x); }

    static KAREC_INLINE IntVec madd(const std::int8_t* row, const std::int16_t* query) {
        const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
        return reinterpret_cast<IntVec>(
            _mm256_madd_epi16(wide, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query))));
    }

    static KAREC_INLINE unsigned equal_keys(const IdBucket& bucket, std::int64_t id) {
        const __m256i keys = _mm256_load_si256(reinterpret_cast<const __m256i*>(bucket.keys));
        const __m256i equal = _mm256_cmpeq_epi64(keys, _mm256_set1_epi64x(id));
        return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(equal))) | unsigned{bucket.keys[4] == id}
                                                                                           << 4;
    }

    // The place of a single bit is the exponent of its number as a float; of bit 31 that number is negative.
    static KAREC_INLINE Vec first_leaves(const float* leaves, IntVec live) {
        const auto live_bits = reinterpret_cast<UnsignedVec>(live);
        const auto lowest = reinterpret_cast<__m256i>(live_bits & -live_bits);
        const __m256i bits = _mm256_castps_si256(_mm256_cvtepi32_ps(lowest));
        const auto exponent = reinterpret_cast<IntVec>(_mm256_srli_epi32(bits, 23));
        return _mm256_i32gather_ps(leaves, reinterpret_cast<__m256i>((exponent - 127) & 31), sizeof *leaves);
    }
};

#include "kernels/loops.inc"

}  // namespace

const Kernels table = kKernels;

}  // namespace karec::avx2
#endif
