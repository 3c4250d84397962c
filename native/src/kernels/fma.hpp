// a·b + c of floats, rounded once: the same bits as std::fmaf, four at a time, without a branch, and without the
// processor's instruction.
//
// The product of two floats is exact in double. The sum with c is rounded to odd there: if TwoSum shows that it was
// not exact and its last bit is even, it moves one step towards the lost part. Rounding that to float is then the same
// as rounding the exact sum (S. Boldo, G. Melquiond, "Emulation of FMA and Correctly Rounded Sums: Proved Algorithms
// Using Rounding to Odd", IEEE Transactions on Computers 2008): a double has more than two bits beyond a float's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace karec {

using FourFloats = float __attribute__((vector_size(16)));

#if defined(__FMA__) || defined(__aarch64__)
inline constexpr bool kTargetHasFma = true;
#else
inline constexpr bool kTargetHasFma = false;
#endif

// For finite arguments.
inline FourFloats fused_in_double(FourFloats a, FourFloats b, FourFloats c) noexcept {
    using Doubles = double __attribute__((vector_size(32)));
    using Bits = std::int64_t __attribute__((vector_size(32)));
    const Doubles product = __builtin_convertvector(a, Doubles) * __builtin_convertvector(b, Doubles);
    const Doubles added = __builtin_convertvector(c, Doubles);
    const Doubles sum = product + added;
    const Doubles rest = sum - product;
    const Doubles lost = (product - (sum - rest)) + (added - rest);
    Bits bits;
    std::memcpy(&bits, &sum, sizeof bits);
    const Bits even = (bits & 1) - 1;  // all ones, or zero
    const Bits inexact = lost != Doubles{};
    const Bits away_from_zero = ~((lost > Doubles{}) ^ (sum > Doubles{}));
    bits += inexact & even & ((away_from_zero & 2) - 1);
    Doubles odd;
    std::memcpy(&odd, &bits, sizeof odd);
    return __builtin_convertvector(odd, FourFloats);
}

// The same, by the instruction if the compiler's target has it.
inline FourFloats fused(FourFloats a, FourFloats b, FourFloats c) noexcept {
    if constexpr (!kTargetHasFma) return fused_in_double(a, b, c);
    FourFloats out;
    for (std::size_t i = 0; i < 4; ++i) out[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return out;
}

}  // namespace karec
