// IEEE 754 binary16 ↔ binary32 in integer arithmetic: the same bits with and without F16C.
#pragma once

#include <bit>
#include <cstdint>

namespace karec {

inline constexpr std::uint16_t kHalfExponent = 0x7C00;  // all ones: infinity or NaN

// Rounds to nearest, ties to even; |x| ≥ 65520 becomes infinity.
inline std::uint16_t float_to_half(float value) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    std::uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u);
    if (magnitude >= 0x47800000u) return static_cast<std::uint16_t>(sign | kHalfExponent);
    if (magnitude < 0x38800000u) {
        // Below 2^-14 the step of a half is 2^-24, one unit in the last place of 0.5: the addition rounds.
        const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
        return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(aligned) - 0x3F000000u));
    }
    magnitude += 0xFFFu + ((magnitude >> 13) & 1u);
    return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000u) >> 13));
}

inline float half_to_float(std::uint16_t half) noexcept {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
    const std::uint32_t magnitude = half & 0x7FFFu;
    std::uint32_t bits = (magnitude << 13) + 0x38000000u;
    if (magnitude < 0x0400u) {
        const float scaled = std::bit_cast<float>((magnitude << 13) + 0x38800000u) - std::bit_cast<float>(0x38800000u);
        bits = std::bit_cast<std::uint32_t>(scaled);
    } else if (magnitude >= kHalfExponent) {
        bits += 0x38000000u;
    }
    return std::bit_cast<float>(sign | bits);
}

}  // namespace karec
