// Checksums, float16, exp and log against their definitions.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "base/fixed_math.hpp"
#include "base/half.hpp"
#include "base/xxh64.hpp"
#include "check.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

std::uint64_t sum_of(std::string_view text) {
    return xxh64(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace

TEST(xxh64_gives_the_published_sums) {
    CHECK(sum_of("") == 0xEF46DB3751D8E999u);
    CHECK(sum_of("a") == 0xD24EC4F1A98C6E5Bu);
    CHECK(sum_of("abc") == 0x44BC2CF5AD770999u);
    CHECK(sum_of("The quick brown fox jumps over the lazy dog") == 0x0B242D361FDA71BCu);
}

TEST(xxh64_of_a_stream_does_not_depend_on_its_parts) {
    std::vector<std::byte> bytes(200);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 37);
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        Xxh64 sum;
        sum.update(std::span(bytes).first(cut));
        sum.update(std::span(bytes).subspan(cut));
        CHECK(sum.digest() == xxh64(bytes));
    }
}

TEST(every_float16_survives_conversion_to_float32) {
    for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        if ((half & kHalfExponent) == kHalfExponent && (half & 0x3FFu) != 0) continue;  // NaN
        CHECK(float_to_half(half_to_float(half)) == half);
    }
}

TEST(float_to_half_rounds_ties_to_even) {
    for (std::uint32_t bits = 0; bits < 0x7BFFu; ++bits) {
        const auto low = static_cast<std::uint16_t>(bits);
        const auto high = static_cast<std::uint16_t>(bits + 1);
        const float middle = (half_to_float(low) + half_to_float(high)) / 2;
        CHECK(float_to_half(middle) == (bits % 2 == 0 ? low : high));
        CHECK(float_to_half(std::nextafter(middle, 0.0f)) == low);
        CHECK(float_to_half(std::nextafter(middle, 1e6f)) == high);
    }
    CHECK(float_to_half(65519.0f) == 0x7BFF);
    CHECK(float_to_half(65520.0f) == kHalfExponent);
}

TEST(fixed_exp_and_log_are_within_two_units_in_the_last_place) {
    std::mt19937_64 random(1);
    std::uniform_real_distribution<double> uniform(0.0, 1.0);
    const double unit = std::numeric_limits<double>::epsilon();
    for (int i = 0; i < 200'000; ++i) {
        const double x = -700.0 * uniform(random) * (i % 2 == 0 ? 1.0 : 1e-3);
        CHECK(std::abs(fixed_exp(x) - std::exp(x)) <= 2 * unit * std::exp(x));
        const double y = std::exp2(1000.0 * (uniform(random) - 0.5));
        CHECK(std::abs(fixed_log(y) - std::log(y)) <= 2 * unit * std::max(std::abs(std::log(y)), 1e-2));
    }
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK(fixed_exp(0.0) == 1.0 && fixed_exp(-infinity) == 0.0 && fixed_exp(-800.0) == 0.0);
    CHECK(fixed_exp(-745.0) == std::numeric_limits<double>::denorm_min());
    CHECK(fixed_log(1.0) == 0.0 && fixed_log(0.0) == -infinity);
}
