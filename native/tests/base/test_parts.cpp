// The parts that everything else stands on: checksum, float16, exp and log, the id map, top-k, the residual.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/fixed_math.hpp"
#include "base/half.hpp"
#include "base/xxh64.hpp"
#include "check.hpp"
#include "diversity/residual.hpp"
#include "index/id_map.hpp"
#include "karec/item_index.hpp"
#include "kernels/fma.hpp"
#include "search/top_k.hpp"

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

TEST(xxh64_does_not_depend_on_how_the_bytes_arrive) {
    std::vector<std::byte> bytes(200);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 37);
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        Xxh64 sum;
        sum.update(std::span(bytes).first(cut));
        sum.update(std::span(bytes).subspan(cut));
        CHECK(sum.digest() == xxh64(bytes));
    }
}

TEST(every_half_survives_float) {
    for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        if ((half & kHalfExponent) == kHalfExponent && (half & 0x3FFu) != 0) continue;  // NaN
        CHECK(float_to_half(half_to_float(half)) == half);
    }
}

TEST(halfway_between_two_halves_goes_to_the_even_one) {
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

TEST(exp_and_log_are_within_two_units_in_the_last_place) {
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

TEST(the_id_map_finds_every_id_and_no_other) {
    std::mt19937_64 random(2);
    for (const std::size_t n : {0u, 1u, 5u, 1000u}) {
        std::vector<std::int64_t> ids(n);
        for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<std::int64_t>(random() & ~1u);
        IdMap map(n);
        for (std::size_t i = 0; i < n; ++i) CHECK(map.put(ids[i], static_cast<std::int32_t>(i)) == -1);
        CHECK(map.buckets().size() == id_bucket_count(n) && map.matches(ids));
        std::vector<std::int64_t> absent = ids;
        for (std::int64_t& id : absent) id |= 1;
        std::vector<std::int32_t> rows(n);
        map.find(absent, rows.data());
        CHECK(std::all_of(rows.begin(), rows.end(), [](std::int32_t row) { return row == -1; }));
    }
}

TEST(the_id_map_stays_a_dictionary_while_ids_come_and_go) {
    std::mt19937_64 random(8);
    std::unordered_map<std::int64_t, std::int32_t> expected;
    IdMap map;
    for (std::int32_t step = 0; step < 200'000; ++step) {
        const auto id = static_cast<std::int64_t>(random() % 5000);
        const auto before = expected.find(id);
        const std::int32_t row = before == expected.end() ? -1 : before->second;
        CHECK(map.find(id) == row);
        if (random() % 2 == 0) {
            map.make_room(expected.size() + 1);
            CHECK(map.put(id, step) == row);
            expected[id] = step;
        } else {
            CHECK(map.take(id) == row);
            expected.erase(id);
        }
    }
}

TEST(a_corrupt_id_map_ends_its_search_and_is_noticed) {
    std::vector<IdBucket> full(4);
    for (IdBucket& bucket : full) {
        std::memset(&bucket, 0xFF, sizeof bucket);
        bucket.overflowed = 1;
    }
    const std::vector<std::int64_t> wanted = {7};
    std::int32_t row = 0;
    IdMap map;
    map.map(nullptr, full);
    map.find(wanted, &row);
    CHECK(row == -1);
    CHECK(!map.matches(wanted));
}

TEST(top_k_is_a_stable_sort_cut_at_k) {
    std::mt19937_64 random(3);
    for (const std::size_t n : {0u, 1u, 700u, 5000u}) {
        for (const std::size_t k : {1u, 3u, 100u, 6000u}) {
            std::vector<float> scores(n);
            for (float& score : scores) score = static_cast<float>(static_cast<int>(random() % 50) - 25);
            std::vector<std::uint32_t> expected(n);
            std::iota(expected.begin(), expected.end(), 0u);
            std::stable_sort(expected.begin(), expected.end(),
                             [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
            expected.resize(std::min(n, k));
            TopK top(k, n);
            top.offer(scores.data(), nullptr, n / 2, 0);
            for (std::size_t i = n / 2; i < n; ++i) top.offer(scores[i], static_cast<std::uint32_t>(i));
            std::vector<std::uint32_t> found;
            top.finish([&](std::size_t, float score, std::uint32_t position) {
                CHECK(score == scores[position]);
                found.push_back(position);
            });
            CHECK(found == expected);
        }
    }
}

TEST(top_k_takes_nan_for_minus_infinity_and_zeros_for_one_value) {
    TopK top(4, 4);
    top.offer(std::numeric_limits<float>::quiet_NaN(), 0);
    top.offer(-0.0f, 1);
    top.offer(0.0f, 2);
    top.offer(-1.0f, 3);
    std::vector<std::uint32_t> found;
    top.finish([&](std::size_t, float, std::uint32_t position) { found.push_back(position); });
    CHECK((found == std::vector<std::uint32_t>{1, 2, 3, 0}));
}

TEST(a_residual_bounds_its_largest_eigenvalue) {
    for (const std::size_t dim : {1u, 5u, 64u, 70u}) {
        std::mt19937_64 random(dim);
        std::normal_distribution<double> normal;
        Residual residual(dim);
        residual.fold();
        std::vector<double> f(dim);
        std::vector<double> u(dim);
        for (std::size_t step = 0; step < 3 * dim; ++step) {
            double square = 0.0;
            for (double& x : f) x = normal(random);
            for (const double x : f) square += x * x;
            for (double& x : f) x /= std::sqrt(square);
            const double rho = 1.01 - residual.apply(f, u);
            for (double& x : u) x /= std::sqrt(rho);
            residual.add(u);
            // Power iteration comes from below, and (Σλ⁴)^¼ is at most dim^¼ times the largest.
            double largest = 0.0;
            for (int i = 0; i < 100; ++i) {
                residual.apply(f, u);
                double length = 0.0;
                for (const double x : u) length += x * x;
                largest = std::sqrt(length);
                for (std::size_t d = 0; d < dim; ++d) f[d] = u[d] / largest;
            }
            const double bound = residual.bound();
            CHECK(bound >= largest && bound <= 1.01 * std::pow(dim, 0.25) * largest / 0.99);
        }
    }
}

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
        // The product next to halfway between two floats, and the sum's last bits far below: rounding twice goes wrong.
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

TEST(a_residual_is_the_same_listed_and_folded) {
    std::mt19937_64 random(6);
    std::normal_distribution<double> normal;
    constexpr std::size_t kWidth = 11;
    Residual listed(kWidth);
    Residual folded(kWidth);
    folded.fold();
    std::vector<double> feature(kWidth);
    std::vector<double> a(kWidth);
    std::vector<double> b(kWidth);
    for (int step = 0; step < 30; ++step) {
        for (double& x : feature) x = normal(random);
        double square = 0.0;
        for (const double x : feature) square += x * x;
        const double explained = listed.apply(feature, a);
        CHECK(std::abs(explained - folded.apply(feature, b)) < 1e-9);
        for (std::size_t i = 0; i < kWidth; ++i) CHECK(std::abs(a[i] - b[i]) < 1e-9);
        const double scale = 1.0 / std::sqrt(0.1 + square - explained);
        for (double& x : a) x *= scale;
        listed.add(a);
        folded.add(a);
        if (step == 20) listed.fold();
    }
}
