// The k-th score of many, and the sort of keys. Run once for each instruction set.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"
#include "kernels/kernels.hpp"
#include "search/scan.hpp"

using namespace karec;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Scores of one kind: close together, of few values, of any bits, or of one far from all others.
std::vector<float> scores_of(int kind, std::size_t n, std::mt19937_64& random) {
    std::normal_distribution<float> normal;
    const float strange[] = {
        std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity, 0.0f, -0.0f, 1e-45f, 3e38f, -3e38f};
    std::vector<float> scores(n);
    for (float& score : scores) {
        score = kind == 0   ? normal(random)
                : kind == 1 ? static_cast<float>(random() % 5) - 2.0f
                : kind == 2 ? strange[random() % std::size(strange)]
                : kind == 3 ? 1e-30f * normal(random)
                            : std::numeric_limits<float>::quiet_NaN();
    }
    if (kind == 3) scores[n / 2] = 1e30f;
    return scores;
}

}  // namespace

TEST(find_kth_score_returns_a_score_that_k_scores_and_few_more_reach) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 400; ++round) {
        const std::size_t n = 1 + random() % 700;
        const std::size_t k = 1 + random() % n;
        const std::vector<float> scores = scores_of(round % 5, n, random);
        std::vector<std::uint32_t> ordered(n);
        std::ranges::transform(scores, ordered.begin(), ordered_score);
        std::ranges::sort(ordered, std::greater<>());
        const std::uint32_t reached = find_kth_score(scores.data(), n, k);
        const auto reaching = static_cast<std::size_t>(
            std::ranges::count_if(ordered, [&](std::uint32_t each) { return each >= reached; }));
        CHECK(reaching >= k);
        const auto equal = static_cast<std::size_t>(std::ranges::count(ordered, ordered[k - 1]));
        CHECK(reaching <= k + k / 32 || (reached == ordered[k - 1] && reaching < k + equal));
    }
}

TEST(selection_kernels_equal_a_loop) {
    std::mt19937_64 random(2);
    for (int round = 0; round < 300; ++round) {
        const std::size_t n = random() % 300;
        const std::vector<float> scores = n == 0 ? std::vector<float>() : scores_of(round % 5, n, random);
        float low = kInfinity;
        float high = -kInfinity;
        for (const float score : scores) {
            if (score < low) low = score;
            if (score > high) high = score;
        }
        float least = 0.0f;
        float largest = 0.0f;
        kernels().score_range(scores.data(), n, &least, &largest);
        CHECK(least == low && largest == high);
        for (const float cut : {low, high, 0.5f, -kInfinity}) {
            const auto expected =
                static_cast<std::size_t>(std::ranges::count_if(scores, [&](float score) { return score >= cut; }));
            CHECK(kernels().count_scores(scores.data(), n, cut) == expected);
        }
    }
}

TEST(sort_by_score_is_stable) {
    std::mt19937_64 random(3);
    for (int round = 0; round < 200; ++round) {
        const std::size_t n = random() % 900;
        const std::vector<float> scores = n == 0 ? std::vector<float>() : scores_of(round % 5, n, random);
        std::vector<std::uint64_t> expected(n);
        ScratchArray<std::uint64_t> keys(n + 1);
        ScratchArray<std::uint64_t> spare(n + 1);
        for (std::size_t i = 0; i < n; ++i) {
            const std::uint64_t low = random() & 0xFFFFFFFF;
            expected[i] = keys[i] = std::uint64_t{ordered_score(scores[i])} << 32 | low;
        }
        std::ranges::stable_sort(expected, [](std::uint64_t a, std::uint64_t b) { return a >> 32 > b >> 32; });
        sort_by_score(keys, spare, n);
        CHECK(n == 0 || std::equal(expected.begin(), expected.end(), &keys[0]));
    }
}
