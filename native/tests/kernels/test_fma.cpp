// The emulated fused multiply-add against std::fmaf, bit by bit.
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

#include "check.hpp"
#include "karec/item_index.hpp"
#include "kernels/fma.hpp"

using namespace karec;

TEST(fused_is_the_exact_sum_rounded_once) {
    std::mt19937 random(11);
    const auto any = [&] { return std::bit_cast<float>(static_cast<std::uint32_t>(random())); };
    const auto near = [&](int spread) {
        const auto mantissa = static_cast<float>(static_cast<std::int32_t>(random()) >> 8);
        return std::ldexp(mantissa, static_cast<int>(random() % static_cast<unsigned>(spread)) - spread / 2);
    };
    const auto check = [](float a, float b, float c) {
        if (!std::isfinite(a) || !std::isfinite(b) || !std::isfinite(c)) return;
        const float expected = std::fmaf(a, b, c);
        for (const FourFloats found :
             {fused_in_double(FourFloats{a, 0, 1, a}, FourFloats{b, 0, 1, b}, FourFloats{c, 0, 1, c}),
              fused(FourFloats{a, 0, 1, a}, FourFloats{b, 0, 1, b}, FourFloats{c, 0, 1, c})}) {
            CHECK(std::bit_cast<std::uint32_t>(found[0]) == std::bit_cast<std::uint32_t>(expected));
            CHECK(found[1] == 0.0f && found[2] == 2.0f && found[3] == found[0]);
        }
    };
    for (int i = 0; i < 300'000; ++i) {
        check(any(), any(), any());
        check(near(60), near(60), near(60));
        // The product is close to the middle of two floats and the addend is tiny: rounding twice gives another float.
        const float a = 1.0f + std::ldexp(static_cast<float>(random() % 4096), -23);
        const float tiny = std::ldexp(static_cast<float>(random() % 3) - 1.0f, -static_cast<int>(random() % 120));
        check(a, 1.0f + 0x1p-12f, tiny);
        check(0x1.000002p0f, 0x1p-24f, 1.0f + tiny);
        check(near(8), std::ldexp(near(2), -140), near(2) * 0x1p-149f);  // subnormal results
        check(a, -a, a * a);                                             // cancels to what a product lost
    }
    check(0.0f, -1.0f, 0.0f);
    check(-0.0f, 1.0f, -0.0f);
    check(3e38f, 3e38f, -3e38f);  // beyond the largest float
    check(1.0f, 0x1p-149f, -0x1p-149f);
}
