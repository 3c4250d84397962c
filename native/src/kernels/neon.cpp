// Kernels for the vectors of 64-bit ARM (Advanced SIMD with fused multiply-add), which each of these processors has.
//
// int8 rows are multiplied as 16-bit integers: the query has 16 bits, so that the dot product of int8 (SDOT) would need
// it in two parts and the sum of each row.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "kernels/isa.hpp"

#define KAREC_TARGET

namespace karec::neon {
namespace {

struct Isa : NoSelection {
    static constexpr const char* kName = "neon";
    static constexpr std::size_t kLanes = 4;
    static constexpr bool kHasFma = true;
    using Vec = float __attribute__((vector_size(16)));
    using IntVec = std::int32_t __attribute__((vector_size(16)));
    using Doubles = double __attribute__((vector_size(16)));

    static KAREC_INLINE Vec load_half(const std::uint16_t* from) {
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
    }

    static KAREC_INLINE Vec fused(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }

    static KAREC_INLINE Doubles load_doubles(const float* from) { return vcvt_f64_f32(vld1_f32(from)); }

    static KAREC_INLINE Doubles roots(Doubles x) { return vsqrtq_f64(x); }

    static KAREC_INLINE IntVec madd(const std::int8_t* row, const std::int16_t* query) {
        const int16x8_t wide = vmovl_s8(vld1_s8(row));
        const int16x8_t factors = vld1q_s16(query);
        return vmlal_high_s16(vmull_s16(vget_low_s16(wide), vget_low_s16(factors)), wide, factors);
    }

    // Bit l: lane l of `mask`, in which lanes are all ones or zero.
    static KAREC_INLINE std::uint32_t lane_bits(uint32x4_t mask) {
        const uint32x4_t bits = {1, 2, 4, 8};
        return vaddvq_u32(vandq_u32(mask, bits));
    }

    static KAREC_INLINE std::uint32_t not_below(Vec a, Vec b) { return lane_bits(vmvnq_u32(vcltq_f32(a, b))); }

    static KAREC_INLINE std::uint32_t nonzero(const std::uint32_t* words) {
        const uint32x4_t masks = vld1q_u32(words);
        return lane_bits(vtstq_u32(masks, masks));
    }

    static KAREC_INLINE unsigned equal_keys(const IdBucket& bucket, std::int64_t id) {
        const int64x2_t wanted = vdupq_n_s64(id);
        const uint32x2_t low = vmovn_u64(vceqq_s64(vld1q_s64(bucket.keys), wanted));
        const uint32x2_t high = vmovn_u64(vceqq_s64(vld1q_s64(bucket.keys + 2), wanted));
        return lane_bits(vcombine_u32(low, high)) | unsigned{bucket.keys[4] == id} << 4;
    }

    static KAREC_INLINE IntVec live_leaves(IntVec live, Vec x, Vec threshold, IntVec leaves) {
        return live & ((x <= threshold) | leaves);
    }

    // The place of the lowest bit is the number of leading zeros of the reversed word.
    static KAREC_INLINE Vec first_leaves(const float* leaves, IntVec live) {
        const uint8x16_t reversed = vrev32q_u8(vrbitq_u8(vreinterpretq_u8_s32(live)));
        const uint32x4_t places = vclzq_u32(vreinterpretq_u32_u8(reversed)) & 31u;
        return Vec{leaves[places[0]], leaves[places[1]], leaves[places[2]], leaves[places[3]]};
    }
};

#include "kernels/loops.inc"

}  // namespace

const Kernels table = kKernels;

}  // namespace karec::neon
#endif
