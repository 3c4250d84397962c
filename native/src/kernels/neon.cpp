// Kernels for the vectors of 64-bit ARM (Advanced SIMD with fused multiply-add), which each of these processors has,
// and for processors that also have the bfloat16 extension.
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

    static KAREC_INLINE unsigned equal_keys(const IdBucket& bucket, std::int64_t id) {
        const int64x2_t wanted = vdupq_n_s64(id);
        const uint32x2_t low = vmovn_u64(vceqq_s64(vld1q_s64(bucket.keys), wanted));
        const uint32x2_t high = vmovn_u64(vceqq_s64(vld1q_s64(bucket.keys + 2), wanted));
        return lane_bits(vcombine_u32(low, high)) | unsigned{bucket.keys[4] == id} << 4;
    }

    // The place of the lowest bit is the number of leading zeros of the reversed word.
    static KAREC_INLINE Vec first_leaves(const float* leaves, IntVec live) {
        const uint8x16_t reversed = vrev32q_u8(vrbitq_u8(vreinterpretq_u8_s32(live)));
        const uint32x4_t places = vclzq_u32(vreinterpretq_u32_u8(reversed)) & 31u;
        return Vec{leaves[places[0]], leaves[places[1]], leaves[places[2]], leaves[places[3]]};
    }
};

#include "kernels/loops.inc"

// BoundKernels in bfloat16 by BFMMLA, which adds the inner products of two rows and two queries over four dimensions.
//
// Rows are packed in pairs, queries too: four dimensions of the first, the same four of the second, and so on. Cost:
// 64·n·dim multiply-adds, 16 an instruction, n rounded up to 8, and one conversion of each element of a row.
// Source: Arm Architecture Reference Manual for A-profile (DDI 0487), BFMMLA: it takes subnormals as zeros and rounds
// sums to odd, which is off by less than two roundings to nearest. A term is in dim/2 + 1 of these sums, so that the
// bound of search/score_bound.hpp, 2·dim + 16 roundings, holds.

#undef KAREC_TARGET
#define KAREC_TARGET __attribute__((target("+bf16")))

inline constexpr std::size_t kStep = 4;   // dimensions of one BFMMLA
inline constexpr std::size_t kPairs = 4;  // of rows, and of queries, in registers: 16 sums and 5 operands of 32

template <class Element>
KAREC_TARGET float pack_rounded(const std::byte* const* rows, std::size_t dim, void* block) {
    Vec largest = {};
    for (std::size_t first = 0; first < kBlockItems; first += kLanes) {
        Vec squares[kLanes];
        for (std::size_t r = 0; r < kLanes; ++r) {
            const std::size_t row = first + r;
            const auto* from = reinterpret_cast<const Element*>(rows[row]);
            bfloat16_t* to = static_cast<bfloat16_t*>(block) + row / 2 * 2 * dim + row % 2 * kStep;
            Vec sum = {};
            for (std::size_t d = 0; d < dim; d += kStep) {
                const Vec x = load_element(from + d);
                vst1_bf16(to + 2 * d, vcvt_bf16_f32(x));
                sum = Isa::fused(x, x, sum);
            }
            squares[r] = sum;
        }
        const Vec norms = fold_rows(squares);
        largest = norms > largest ? norms : largest;
    }
    return largest_lane(largest);
}

KAREC_TARGET void write_rounded_column(const float* query, std::size_t dim, std::size_t column, void* panel) {
    for (std::size_t d = 0; d < dim; ++d) {
        const std::size_t place = (d / kStep * kColumns + column) * kStep + d % kStep;
        static_cast<bfloat16_t*>(panel)[place] = vcvth_bf16_f32(query[d]);
    }
}

// Rows `first` … first + 2·kPairs − 1 against 2·kPairs columns from `column` on.
KAREC_INLINE void compare_rounded_tile(const BoundInput& in, std::size_t first, std::size_t column, float* values,
                                       std::uint32_t* masks) {
    const bfloat16_t* rows = static_cast<const bfloat16_t*>(in.block) + first * in.dim;
    const bfloat16_t* panel = static_cast<const bfloat16_t*>(in.panel) + column * kStep;
    if (column == 0) fetch_next<0>(in, first, 2 * kPairs);
    float32x4_t sums[kPairs][kPairs] = {};
    for (std::size_t d = 0; d < in.dim; d += kStep) {
        bfloat16x8_t queries[kPairs];
        for (std::size_t c = 0; c < kPairs; ++c) queries[c] = vld1q_bf16(panel + d * kColumns + c * 2 * kStep);
        for (std::size_t r = 0; r < kPairs; ++r) {
            const bfloat16x8_t x = vld1q_bf16(rows + r * 2 * in.dim + 2 * d);
            for (std::size_t c = 0; c < kPairs; ++c) sums[r][c] = vbfmmlaq_f32(sums[r][c], x, queries[c]);
        }
    }
    for (std::size_t r = 0; r < kPairs; ++r) {
        const std::size_t row = first + 2 * r;
        std::uint32_t bits[2] = {};
        for (std::size_t c = 0; c < kPairs; c += 2) {
            const Vec top = __builtin_shufflevector(sums[r][c], sums[r][c + 1], 0, 1, 4, 5);
            const Vec bottom = __builtin_shufflevector(sums[r][c], sums[r][c + 1], 2, 3, 6, 7);
            bits[0] |= compare_values(in, row, column + 2 * c, top, values) << (column + 2 * c);
            bits[1] |= compare_values(in, row + 1, column + 2 * c, bottom, values) << (column + 2 * c);
        }
        for (std::size_t i = 0; i < 2; ++i) masks[row + i] = column == 0 ? bits[i] : masks[row + i] | bits[i];
    }
}

KAREC_TARGET std::uint64_t compare_rounded(const BoundInput& in, float* values, std::uint32_t* masks, float*) {
    for (std::size_t column = 0; column < in.n; column += 2 * kPairs) {
        for (std::size_t first = 0; first < kBlockItems; first += 2 * kPairs)
            compare_rounded_tile(in, first, column, values, masks);
    }
    return rows_with_bits(masks);
}

constexpr BoundKernels kRoundedKernels = {
    .element_bytes = sizeof(bfloat16_t),
    .dim_step = 16,
    .unit_roundoff = 0x1p-8,
    .can_pack_next = false,
    .pack_float16 = pack_rounded<std::uint16_t>,
    .pack_float32 = pack_rounded<float>,
    .write_column = write_rounded_column,
    .compare_float16 = compare_rounded,
    .compare_float32 = compare_rounded,
    .begin = nullptr,
    .end = nullptr,
};

}  // namespace

const Kernels table = kKernels;

}  // namespace karec::neon

namespace karec::neonbf16 {

constinit const Kernels table = with_bounds("neonbf16", neon::kRoundedKernels, neon::kKernels);

}  // namespace karec::neonbf16
#endif
