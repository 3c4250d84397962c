// Kernels in 16-byte vectors, for any machine.
#include <cmath>

#include "kernels/fma.hpp"
#include "kernels/isa.hpp"

#define KAREC_TARGET

namespace karec::generic {
namespace {

struct Isa : NoSelection {
    static constexpr const char* kName = "generic";
    static constexpr std::size_t kLanes = 4;
    static constexpr bool kHasFma = kTargetHasFma;
    using Vec = float __attribute__((vector_size(16)));
    using IntVec = std::int32_t __attribute__((vector_size(16)));
    using Doubles = double __attribute__((vector_size(16)));
    using UnsignedVec = std::uint32_t __attribute__((vector_size(16)));

    // half_to_float (half.hpp) of four at once; rows hold neither infinity nor NaN.
    static KAREC_INLINE Vec load_half(const std::uint16_t* from) {
        const UnsignedVec half = {from[0], from[1], from[2], from[3]};
        const UnsignedVec shifted = (half & 0x7FFFu) << 13;
        const UnsignedVec normal = shifted + 0x38000000u;
        const UnsignedVec one_up = shifted + 0x38800000u;
        const UnsignedVec offset = UnsignedVec{} + 0x38800000u;
        Vec scaled;
        Vec base;
        std::memcpy(&scaled, &one_up, sizeof scaled);
        std::memcpy(&base, &offset, sizeof base);
        scaled = scaled - base;
        UnsignedVec subnormal;
        std::memcpy(&subnormal, &scaled, sizeof subnormal);
        const UnsignedVec bits = (shifted < 0x00800000u ? subnormal : normal) | (half & 0x8000u) << 16;
        Vec v;
        std::memcpy(&v, &bits, sizeof v);
        return v;
    }

    static KAREC_INLINE Vec fused(Vec a, Vec b, Vec c) { return karec::fused(a, b, c); }

    static KAREC_INLINE std::uint32_t not_below(Vec a, Vec b) {
        const IntVec bits = ~(a < b) & IntVec{1, 2, 4, 8};
        return static_cast<std::uint32_t>((bits[0] | bits[1]) | (bits[2] | bits[3]));
    }

    static KAREC_INLINE Doubles load_doubles(const float* from) { return Doubles{from[0], from[1]}; }

    static KAREC_INLINE Doubles roots(Doubles x) { return Doubles{std::sqrt(x[0]), std::sqrt(x[1])}; }

    static KAREC_INLINE IntVec madd(const std::int8_t* row, const std::int16_t* query) {
        IntVec sums;
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            sums[lane] = row[2 * lane] * query[2 * lane] + row[2 * lane + 1] * query[2 * lane + 1];
        }
        return sums;
    }

    static KAREC_INLINE unsigned equal_keys(const IdBucket& bucket, std::int64_t id) {
        unsigned equal = 0;
        for (unsigned slot = 0; slot < IdBucket::kSlots; ++slot) equal |= unsigned{bucket.keys[slot] == id} << slot;
        return equal;
    }

    static KAREC_INLINE Vec first_leaves(const float* leaves, IntVec live) {
        Vec values;
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            values[lane] = leaves[__builtin_ctz(static_cast<std::uint32_t>(live[lane]) | 1u << 31)];
        }
        return values;
    }
};

#include "kernels/loops.inc"

}  // namespace

const Kernels table = kKernels;

}  // namespace karec::generic
