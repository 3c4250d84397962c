// TopK against a stable sort.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "check.hpp"
#include "karec/item_index.hpp"
#include "search/top_k.hpp"

using namespace karec;

TEST(top_k_equals_a_stable_sort) {
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

TEST(top_k_of_large_k_equals_a_stable_sort) {
    std::mt19937_64 random(5);
    constexpr std::size_t kN = 300'000;
    for (const int kind : {0, 1, 2, 3}) {  // few values, many, rising, falling
        for (const std::size_t k : {4096u, 20'000u, 70'000u, 299'999u}) {
            std::vector<float> scores(kN);
            for (std::size_t i = 0; i < kN; ++i) {
                const auto step = static_cast<float>(i) / 1024.0f;
                scores[i] = kind == 0 ? static_cast<float>(static_cast<int>(random() % 9) - 4)
                            : kind == 1
                                ? static_cast<float>(static_cast<int>(random() % 2'000'000) - 1'000'000) / 1024.0f
                            : kind == 2 ? step
                                        : -step;
            }
            std::vector<std::uint32_t> expected(kN);
            std::iota(expected.begin(), expected.end(), 0u);
            std::stable_sort(expected.begin(), expected.end(),
                             [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
            expected.resize(k);
            TopK top(k, kN);
            for (std::size_t i = 0; i < kN; i += 64) {
                top.offer(&scores[i], nullptr, std::min<std::size_t>(64, kN - i), static_cast<std::uint32_t>(i));
            }
            std::vector<std::uint32_t> found;
            top.finish([&](std::size_t, float, std::uint32_t position) { found.push_back(position); });
            CHECK(found == expected);
        }
    }
}

TEST(top_k_equals_a_stable_sort_for_any_scores_rows_and_block_lengths) {
    std::mt19937_64 random(11);
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float strange[] = {std::numeric_limits<float>::quiet_NaN(),
                             -std::numeric_limits<float>::quiet_NaN(),
                             kInfinity,
                             -kInfinity,
                             0.0f,
                             -0.0f,
                             1e-45f,
                             -1e-45f,
                             3e38f,
                             -3e38f};
    for (int round = 0; round < 60; ++round) {
        const std::size_t n = 1 + random() % 3000;
        const std::size_t k = std::min<std::size_t>(n, 1 + random() % 300);
        std::vector<float> scores(n);
        std::vector<std::int32_t> rows(n);
        for (float& score : scores) {
            score = random() % 4 == 0 ? strange[random() % std::size(strange)] : static_cast<float>(random() % 40) - 20;
        }
        for (std::int32_t& row : rows) row = random() % 5 == 0 ? -1 - static_cast<std::int32_t>(random() % 2) : 7;
        const auto value = [&](std::uint32_t at) { return std::isnan(scores[at]) ? -kInfinity : scores[at]; };
        std::vector<std::uint32_t> expected;
        for (std::uint32_t i = 0; i < n; ++i) {
            if (round % 2 == 0 || rows[i] >= 0) expected.push_back(i);
        }
        std::stable_sort(expected.begin(), expected.end(),
                         [&](std::uint32_t a, std::uint32_t b) { return value(a) > value(b); });
        expected.resize(std::min(expected.size(), k));
        TopK top(k, n);
        for (std::size_t first = 0; first < n;) {
            const std::size_t some = std::min<std::size_t>(n - first, 1 + random() % 130);
            top.offer(&scores[first], round % 2 == 0 ? nullptr : &rows[first], some, static_cast<std::uint32_t>(first));
            first += some;
        }
        std::vector<std::uint32_t> found;
        top.finish([&](std::size_t, float score, std::uint32_t position) {
            CHECK(score == value(position));
            found.push_back(position);
        });
        CHECK(found == expected);
    }
}

TEST(top_k_treats_nan_as_minus_infinity_and_zeros_as_equal) {
    TopK top(4, 4);
    top.offer(std::numeric_limits<float>::quiet_NaN(), 0);
    top.offer(-0.0f, 1);
    top.offer(0.0f, 2);
    top.offer(-1.0f, 3);
    std::vector<std::uint32_t> found;
    top.finish([&](std::size_t, float, std::uint32_t position) { found.push_back(position); });
    CHECK((found == std::vector<std::uint32_t>{1, 2, 3, 0}));
}
