// exp and log with IEEE additions and multiplications only, so that selections have the same bits on every machine. The
// C library selects variants by processor, which can differ in the last bit. Error ≤ 2 units in the last place.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

namespace karec {

// ln 2 in two parts: its upper 32 bits, so that n·kLn2High is exact for |n| < 2^21, and the rest.
inline constexpr double kLn2High = 0x1.62e42feep-1;  // NOLINT(modernize-use-std-numbers)
inline constexpr double kLn2Low = 0x1.a39ef35793c76p-33;

// e^x for x ≤ 0, −inf included; without a branch, so that compilers vectorise loops over it.
inline double fixed_exp(double argument) noexcept {
    const double x = argument > -746.0 ? argument : -746.0;            // e^−746 is 0 already
    const double n = (x * std::numbers::log2e + 0x1.8p52) - 0x1.8p52;  // x / ln 2, rounded to an integer
    const double r = (x - n * kLn2High) - n * kLn2Low;
    constexpr double kInverseFactorials[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                                             1.0 / 362880,     1.0 / 40320,     1.0 / 5040,     1.0 / 720,
                                             1.0 / 120,        1.0 / 24,        1.0 / 6,        0.5};
    double sum = 0.0;  // Taylor to degree 13: the next term is below 2^-57
    for (const double coefficient : kInverseFactorials) sum = sum * r + coefficient;
    sum = 1.0 + (r + r * r * sum);
    // Two steps, so that a subnormal result is rounded once.
    const auto exponent = static_cast<int>(n);
    const int half = exponent / 2;
    const auto power = [](int e) { return std::bit_cast<double>(static_cast<std::uint64_t>(e + 1023) << 52); };
    return sum * power(half) * power(exponent - half);
}

// ln x for normal or subnormal x > 0; −inf for 0.
inline double fixed_log(double x) noexcept {
    if (x == 0.0) return -std::numeric_limits<double>::infinity();
    int exponent = 0;
    double m = std::frexp(x, &exponent);
    if (m < 0.70710678118654752) {
        m *= 2.0;
        --exponent;
    }
    const double s = (m - 1.0) / (m + 1.0);  // ln m = 2·artanh s, |s| ≤ 0.1716
    const double s2 = s * s;
    double sum = 0.0;
    for (int odd = 23; odd >= 3; odd -= 2) sum = (sum + 1.0 / odd) * s2;
    return exponent * kLn2High + (exponent * kLn2Low + 2.0 * (s + s * sum));
}

}  // namespace karec
