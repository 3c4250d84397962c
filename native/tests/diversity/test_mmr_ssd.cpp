// MMR and SSD as a C++ host uses them, against a plain greedy in float64.
#include "karec/mmr_ssd.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "check.hpp"

using namespace karec;

namespace {

constexpr std::size_t kN = 300;
constexpr std::size_t kDim = 10;
using Vector = std::vector<double>;

struct Problem {
    std::vector<float> embeddings = std::vector<float>(kN * kDim);
    std::vector<float> relevance = std::vector<float>(kN);
    MatrixView view() const { return {embeddings.data(), kN, kDim, DType::float32}; }
    Vector unit(std::size_t i) const {
        Vector f(embeddings.begin() + static_cast<std::ptrdiff_t>(i * kDim),
                 embeddings.begin() + static_cast<std::ptrdiff_t>((i + 1) * kDim));
        double square = 0.0;
        for (const double x : f) square += x * x;
        for (double& x : f) x /= std::sqrt(square);
        return f;
    }
};

Problem random_problem(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    Problem problem;
    for (float& x : problem.embeddings) x = normal(random);
    for (float& r : problem.relevance) r = normal(random);
    return problem;
}

double dot(const Vector& a, const Vector& b) {
    double sum = 0.0;
    for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
    return sum;
}

Vector left_of(Vector f, const std::vector<Vector>& basis) {
    const Vector whole = f;
    for (const Vector& u : basis) {
        const double part = dot(whole, u);
        for (std::size_t d = 0; d < f.size(); ++d) f[d] -= part * u[d];
    }
    return f;
}

std::vector<std::int64_t> plain(const Problem& p, std::size_t k, std::size_t window, bool orthogonal) {
    std::vector<std::int64_t> picks;
    std::vector<Vector> basis;
    while (picks.size() < k) {
        if (basis.size() > window - 1) basis.erase(basis.begin());
        std::size_t best = kN;
        double best_score = -std::numeric_limits<double>::infinity();
        for (std::size_t i = 0; i < kN; ++i) {
            if (std::find(picks.begin(), picks.end(), static_cast<std::int64_t>(i)) != picks.end()) continue;
            const Vector f = p.unit(i);
            double term = 0.0;
            if (orthogonal) {
                const Vector left = left_of(f, basis);
                term = std::sqrt(std::max(0.0, dot(left, left)));
            } else if (!basis.empty()) {
                double largest = -1.0;
                for (const Vector& u : basis) largest = std::max(largest, dot(f, u));
                term = -largest;
            }
            const double score = 0.5 * p.relevance[i] + 0.5 * term;
            if (score > best_score) {
                best = i;
                best_score = score;
            }
        }
        picks.push_back(static_cast<std::int64_t>(best));
        Vector u = p.unit(best);
        if (orthogonal) {
            u = left_of(u, basis);
            const double length = std::sqrt(dot(u, u));
            for (double& x : u) x /= length;
        }
        basis.push_back(u);
    }
    return picks;
}

}  // namespace

TEST(mmr_and_ssd_order_equal_scores_by_position) {
    Problem p = random_problem(3);
    p.relevance.assign(kN, 0.5f);
    MmrSsdOptions options;
    options.diversity = 0.0;
    for (const std::optional<std::size_t> window : {std::optional<std::size_t>{}, std::optional<std::size_t>{3}}) {
        options.window = window;
        for (const auto select : {mmr_select, ssd_select}) {
            std::vector<std::int64_t> picks(200);
            std::vector<double> scores(200);
            CHECK(select(p.view(), p.relevance, options, picks, scores).ok());
            for (std::size_t t = 0; t < 200; ++t) CHECK(picks[t] == static_cast<std::int64_t>(t));
        }
    }
}

TEST(mmr_and_ssd_select_the_best_score_at_each_position) {
    for (unsigned seed = 0; seed < 5; ++seed) {
        const Problem p = random_problem(seed);
        for (const std::size_t window : {2u, 5u, 100u}) {
            // With more picks than dimensions SSD compares only rounding errors: k = 8 if nothing leaves the
            // window.
            const std::size_t k = window == 100 ? 8 : 30;
            std::vector<std::int64_t> indices(k);
            std::vector<double> scores(k);
            MmrSsdOptions options;
            options.window = window;
            CHECK(mmr_select(p.view(), p.relevance, options, indices, scores).value() == k);
            CHECK(indices == plain(p, k, window, false));
            CHECK(ssd_select(p.view(), p.relevance, options, indices, scores).value() == k);
            CHECK(indices == plain(p, k, window, true));
        }
    }
}

TEST(facet_of_weight_1_selects_each_value_before_it_repeats_one) {
    Problem p = random_problem(6);
    for (std::size_t i = 0; i < kN; ++i) p.relevance[i] = -static_cast<float>(i) / kN;
    std::vector<std::int64_t> codes(kN);
    for (std::size_t i = 0; i < kN; ++i) codes[i] = static_cast<std::int64_t>(i / 60) - 2;  // −2 … 2
    const std::vector<double> weights = {1.0};
    MmrSsdOptions options;
    options.diversity = 0.9;
    options.facets = codes;
    options.facet_weights = weights;
    for (const auto select : {mmr_select, ssd_select}) {
        std::vector<std::int64_t> picks(6);
        std::vector<double> scores(6);
        CHECK(select(p.view(), p.relevance, options, picks, scores).ok());
        CHECK((picks == std::vector<std::int64_t>{0, 60, 120, 180, 240, 1}));
    }
}

TEST(mmr_and_ssd_refuse_invalid_facets) {
    const Problem p = random_problem(6);
    std::vector<std::int64_t> picks(3);
    std::vector<double> scores(3);
    const std::vector<std::int64_t> codes(2 * kN, 0);
    const auto refused = [&](const std::vector<double>& weights, std::size_t n_codes, const char* why) {
        MmrSsdOptions options;
        options.facets = std::span(codes).first(n_codes);
        options.facet_weights = weights;
        const auto found = mmr_select(p.view(), p.relevance, options, picks, scores);
        return !found.ok() && found.status().message().find(why) != std::string::npos;
    };
    CHECK(refused({0.5}, kN - 1, "facets has 299 entries, expected 1 × 300"));
    CHECK(refused({0.5, 0.6}, 2 * kN, "facet_weights sum to 1.1"));
    CHECK(refused({-0.1}, kN, "facet_weights holds -0.1"));
}

TEST(mmr_and_ssd_lower_scores_of_items_similar_to_shown_ones) {
    Problem p = random_problem(7);
    std::fill(p.relevance.begin(), p.relevance.end(), 0.0f);
    MmrSsdOptions options;
    options.shown = {p.embeddings.data(), 1, kDim, DType::float32};  // item 0 itself
    std::vector<std::int64_t> indices(kN);
    std::vector<double> scores(kN);
    CHECK(mmr_select(p.view(), p.relevance, options, indices, scores).ok());
    CHECK(indices.front() != 0 && scores.front() > 0.0);
    options.window = 1;
    CHECK(ssd_select(p.view(), p.relevance, options, indices, scores).ok());
    CHECK(indices.back() == 0 && scores.back() == 0.0);
}

TEST(mmr_and_ssd_refuse_vectors_that_are_not_floats) {
    const Problem p = random_problem(9);
    std::vector<std::int64_t> indices(3);
    std::vector<double> scores(3);
    const std::vector<double> zeros(kN * kDim);
    for (const DType dtype : {DType::float64, DType::int8, DType::int64, DType::boolean}) {
        const MatrixView other{zeros.data(), kN, kDim, dtype};
        MmrSsdOptions options;
        const auto refuses = [&](const MatrixView& embeddings, const char* name) {
            const std::string words = std::string(name) + " must be float16 or float32";
            return mmr_select(embeddings, p.relevance, options, indices, scores).status().message() == words &&
                   ssd_select(embeddings, p.relevance, options, indices, scores).status().message() == words;
        };
        CHECK(refuses(other, "embeddings"));
        options.shown = other;
        CHECK(refuses(p.view(), "shown"));
    }
}

TEST(mmr_and_ssd_refuse_invalid_arguments) {
    Problem p = random_problem(8);
    std::vector<std::int64_t> indices(3);
    std::vector<double> scores(3);
    const auto refused = [&](const MmrSsdOptions& options) {
        return mmr_select(p.view(), p.relevance, options, indices, scores).status().code() == Code::invalid_argument &&
               ssd_select(p.view(), p.relevance, options, indices, scores).status().code() == Code::invalid_argument;
    };
    MmrSsdOptions options;
    options.diversity = -0.1;
    CHECK(refused(options));
    options = {};
    options.window = 0;
    CHECK(refused(options));
    options = {};
    options.shown = {p.embeddings.data(), 1, 3, DType::float32};
    CHECK(refused(options));
    p.embeddings[5] = std::numeric_limits<float>::quiet_NaN();
    CHECK(refused({}));
}
