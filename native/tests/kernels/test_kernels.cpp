// The scoring kernels of one instruction set, bit by bit against their definition. Run once for each set.
#include <algorithm>
#include <bit>
#include <cstring>
#include <random>
#include <vector>

#include "base/half.hpp"
#include "check.hpp"
#include "karec/item_index.hpp"
#include "kernels/kernels.hpp"

using namespace karec;

namespace {

// The definition in scoring_loops.inc, one operation at a time.
float plain_dot(const float* row, const float* query, std::size_t dim) {
    float sums[16] = {};
    for (std::size_t d = 0; d < dim; ++d) {
        const float product = row[d] * query[d];
        sums[d % 16] += product;
    }
    for (std::size_t half = 8; half > 0; half /= 2) {
        for (std::size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
    }
    return sums[0];
}

}  // namespace

TEST(scoring_kernels_follow_their_order_of_summation_bit_by_bit) {
    std::mt19937_64 random(4);
    std::normal_distribution<float> normal;
    for (std::size_t dim = 16; dim <= 160; dim += 16) {
        const std::size_t stride = (dim * sizeof(float) + 63) / 64 * 64;
        constexpr std::size_t kRows = 90;
        std::vector<float> query(dim);
        for (float& x : query) x = normal(random);
        std::vector<std::byte> floats(kRows * stride);
        std::vector<std::byte> halves(kRows * stride);
        std::vector<float> expected_float(kRows);
        std::vector<float> expected_half(kRows);
        for (std::size_t i = 0; i < kRows; ++i) {
            std::vector<float> row(dim);
            std::vector<float> rounded(dim);
            std::vector<std::uint16_t> half(dim);
            for (std::size_t d = 0; d < dim; ++d) {
                row[d] = normal(random) * (d % 7 == 0 ? 1e-6f : 1.0f);  // some are subnormal as float16
                half[d] = float_to_half(row[d]);
                rounded[d] = half_to_float(half[d]);
            }
            std::memcpy(&floats[i * stride], row.data(), dim * sizeof(float));
            std::memcpy(&halves[i * stride], half.data(), dim * sizeof(std::uint16_t));
            expected_float[i] = plain_dot(row.data(), query.data(), dim);
            expected_half[i] = plain_dot(rounded.data(), query.data(), dim);
        }
        std::vector<const std::byte*> float_rows(kRows);
        std::vector<const std::byte*> half_rows(kRows);
        for (std::size_t i = 0; i < kRows; ++i) {
            float_rows[i] = &floats[i * stride];
            half_rows[i] = &halves[i * stride];
        }
        for (std::size_t n = kRows - 20; n <= kRows; ++n) {
            std::vector<float> out(n);
            kernels().dot_float32(float_rows.data(), nullptr, n, query.data(), dim, out.data());
            CHECK(std::equal(out.begin(), out.end(), expected_float.begin()));
            kernels().dot_float16(half_rows.data(), half_rows.data(), n, query.data(), dim, out.data());
            CHECK(std::equal(out.begin(), out.end(), expected_half.begin()));
        }
        std::vector<float> block(dim * kBlockItems);
        for (std::size_t i = 0; i < kBlockItems; ++i) {
            for (std::size_t d = 0; d < dim; ++d) {
                std::memcpy(&block[d * kBlockItems + i], &floats[i * stride + d * sizeof(float)], sizeof(float));
            }
        }
        std::vector<float> packed(kBlockItems);
        kernels().dot_packed(block.data(), dim, query.data(), packed.data());
        CHECK(std::equal(packed.begin(), packed.end(), expected_float.begin()));
    }
}

TEST(int8_rows_are_summed_exactly) {
    std::mt19937_64 random(9);
    for (std::size_t dim = 64; dim <= 1024; dim += 320) {
        constexpr std::size_t kRows = 37;
        const int limit = static_cast<int>(std::min<std::size_t>(32767, 2147483647u / (128 * dim)));
        std::vector<std::int8_t> values(kRows * dim);
        std::vector<std::int16_t> query(dim);
        for (std::int8_t& x : values) x = static_cast<std::int8_t>(random() % 4 == 0 ? -128 : 127);
        for (std::int16_t& x : query) x = static_cast<std::int16_t>(random() % 4 == 0 ? -limit : limit);
        std::vector<const std::byte*> rows(kRows);
        for (std::size_t i = 0; i < kRows; ++i) rows[i] = reinterpret_cast<const std::byte*>(&values[i * dim]);
        std::vector<std::int32_t> out(kRows);
        kernels().dot_int8(rows.data(), nullptr, kRows, query.data(), dim, out.data());
        for (std::size_t i = 0; i < kRows; ++i) {
            std::int64_t sum = 0;
            for (std::size_t d = 0; d < dim; ++d) sum += std::int64_t{values[i * dim + d]} * query[d];
            CHECK(out[i] == sum);
        }
    }
}

TEST(widen_is_exact_for_every_finite_half) {
    std::vector<std::uint16_t> halves;
    for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
        if ((bits & kHalfExponent) != kHalfExponent) halves.push_back(static_cast<std::uint16_t>(bits));
    }
    for (std::size_t n = halves.size() - 20; n <= halves.size(); ++n) {
        std::vector<float> out(n);
        kernels().widen(halves.data(), n, out.data());
        for (std::size_t i = 0; i < n; ++i) {
            CHECK(std::bit_cast<std::uint32_t>(out[i]) == std::bit_cast<std::uint32_t>(half_to_float(halves[i])));
        }
    }
}

TEST(gemv_packed_adds_dimension_by_dimension) {
    std::mt19937_64 random(5);
    std::normal_distribution<float> normal;
    for (const std::size_t dim : {1u, 7u, 64u}) {
        std::vector<float> block(dim * kBlockItems);
        std::vector<float> direction(dim);
        std::vector<float> dots(kBlockItems);
        for (float& x : block) x = normal(random);
        for (float& x : direction) x = normal(random);
        for (float& x : dots) x = normal(random);
        std::vector<float> expected = dots;
        for (std::size_t d = 0; d < dim; ++d) {
            for (std::size_t i = 0; i < kBlockItems; ++i) {
                const float product = block[d * kBlockItems + i] * direction[d];
                expected[i] += product;
            }
        }
        kernels().gemv_packed(block.data(), dim, direction.data(), dots.data());
        CHECK(dots == expected);
    }
}
