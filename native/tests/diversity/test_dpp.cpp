// The DPP as a C++ host uses it, against a plain float64 greedy on the kernel of the definition.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "diversity/dpp_type_quota.hpp"
#include "karec/dpp.hpp"

using namespace karec;

namespace {

struct Problem {
    std::size_t n;
    std::size_t dim;
    std::vector<float> embeddings;
    std::vector<float> relevance;
    MatrixView view() const { return {embeddings.data(), n, dim, DType::float32}; }
};

Problem random_problem(unsigned seed, std::size_t n, std::size_t dim) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    Problem problem{n, dim, std::vector<float>(n * dim), std::vector<float>(n)};
    for (float& x : problem.embeddings) x = normal(random);
    for (float& r : problem.relevance) r = normal(random);
    return problem;
}

// L of the definition, without types.
std::vector<double> kernel_of(const Problem& p, double alpha, double ridge) {
    std::vector<double> unit(p.n * p.dim);
    for (std::size_t i = 0; i < p.n; ++i) {
        double square = 0.0;
        for (std::size_t d = 0; d < p.dim; ++d) square += std::pow(p.embeddings[i * p.dim + d], 2.0);
        for (std::size_t d = 0; d < p.dim; ++d) unit[i * p.dim + d] = p.embeddings[i * p.dim + d] / std::sqrt(square);
    }
    const double best = *std::max_element(p.relevance.begin(), p.relevance.end());
    std::vector<double> kernel(p.n * p.n);
    for (std::size_t i = 0; i < p.n; ++i) {
        for (std::size_t j = 0; j < p.n; ++j) {
            double dot = i == j ? ridge : 0.0;
            for (std::size_t d = 0; d < p.dim; ++d) dot += unit[i * p.dim + d] * unit[j * p.dim + d];
            kernel[i * p.n + j] =
                std::exp(alpha * (p.relevance[i] - best)) * std::exp(alpha * (p.relevance[j] - best)) * dot;
        }
    }
    return kernel;
}

struct Selection {
    explicit Selection(std::size_t k) : indices(k), gains(k) {}
    std::vector<std::int64_t> indices;
    std::vector<double> gains;
    DppCount count;
    Status status;
};

Selection select(const Problem& p, const DppOptions& options, std::size_t k) {
    Selection s(k);
    auto count = dpp_select(p.view(), p.relevance, options, s.indices, s.gains);
    s.status = count.status();
    if (count.ok()) s.count = count.value();
    return s;
}

Selection select_kernel(const std::vector<double>& kernel, std::size_t n, std::optional<std::size_t> window,
                        std::size_t k) {
    Selection s(k);
    auto count = dpp_select_kernel(kernel, n, window, s.indices, s.gains);
    s.status = count.status();
    if (count.ok()) s.count = count.value();
    return s;
}

bool refused(const Selection& s, const char* words) {
    return s.status.code() == Code::invalid_argument && s.status.message().find(words) != std::string::npos;
}

}  // namespace

TEST(dpp_of_embeddings_equals_dpp_of_their_explicit_kernel) {
    for (unsigned seed = 0; seed < 5; ++seed) {
        const Problem p = random_problem(seed, 300, 12);
        for (const std::optional<std::size_t> window : {std::optional<std::size_t>{}, std::optional<std::size_t>{5}}) {
            DppOptions options;
            options.window = window;
            const Selection direct = select(p, options, 60);
            const Selection by_kernel = select_kernel(kernel_of(p, options.alpha, options.ridge), p.n, window, 60);
            CHECK(direct.count.n_dpp == 60 && direct.indices == by_kernel.indices);
            CHECK(std::abs(direct.count.log_det - by_kernel.count.log_det) < 1e-6);
            for (std::size_t t = 0; t < 60; ++t) {
                CHECK(std::abs(direct.gains[t] - by_kernel.gains[t]) <= 1e-9 * by_kernel.gains[t] + 1e-12);
            }
        }
    }
}

// Shown items have values too: the selection is that of the kernel's Schur complement. The explicit greedy gets it if
// it takes the shown items first, because their q is the largest.
TEST(dpp_with_facets_equals_dpp_of_its_explicit_kernel) {
    for (unsigned seed = 0; seed < 30; ++seed) {
        const std::size_t n_shown = seed % 3 == 0 ? 0 : 7;
        const Problem p = random_problem(seed, 150, 5);
        const Problem seen = random_problem(1000 + seed, n_shown, 5);
        std::mt19937 random(seed);
        const std::vector<double> weights = {0.4, 0.25, 0.15};
        const std::size_t n_all = n_shown + p.n;
        std::vector<std::int64_t> facets(3 * p.n);
        std::vector<std::int64_t> of_shown(3 * n_shown);
        for (std::size_t f = 0; f < 3; ++f) {
            const unsigned n_values = f == 0 ? 3 : f == 1 ? 12 : 90;
            for (std::size_t i = 0; i < p.n; ++i)
                facets[f * p.n + i] = static_cast<std::int64_t>(random() % n_values) - 1;
            for (std::size_t i = 0; i < n_shown; ++i)
                of_shown[f * n_shown + i] = static_cast<std::int64_t>(random() % n_values) - 1;
        }
        Problem both{n_all, 5, seen.embeddings, std::vector<float>(n_all)};
        both.embeddings.insert(both.embeddings.end(), p.embeddings.begin(), p.embeddings.end());
        std::vector<double> kernel = kernel_of(both, 0.0, 0.0);
        const double best = *std::max_element(p.relevance.begin(), p.relevance.end());
        const auto code = [&](std::size_t f, std::size_t i) {
            return i < n_shown ? of_shown[f * n_shown + i] : facets[f * p.n + i - n_shown];
        };
        const auto quality = [&](std::size_t i) {
            return i < n_shown ? 1e3 : std::exp(0.5 * (p.relevance[i - n_shown] - best));
        };
        for (std::size_t i = 0; i < n_all; ++i) {
            for (std::size_t j = 0; j < n_all; ++j) {
                double alike = 0.2 * kernel[i * n_all + j] + (i == j ? 1e-2 : 0.0);
                for (std::size_t f = 0; f < 3; ++f) alike += code(f, i) == code(f, j) ? weights[f] : 0.0;
                kernel[i * n_all + j] = quality(i) * quality(j) * alike;
            }
        }
        DppOptions options;
        options.facets = facets;
        options.facet_weights = weights;
        options.shown = seen.view();
        options.shown_facets = of_shown;
        constexpr std::size_t kPicks = 100;
        const Selection direct = select(p, options, kPicks);
        const Selection by_kernel = select_kernel(kernel, n_all, std::nullopt, n_shown + kPicks);
        CHECK(direct.count.n_dpp == kPicks && by_kernel.count.n_dpp == n_shown + kPicks);
        for (std::size_t t = 0; t < kPicks; ++t) {
            const auto item = static_cast<std::size_t>(by_kernel.indices[n_shown + t]);
            CHECK(item >= n_shown && direct.indices[t] == static_cast<std::int64_t>(item - n_shown));
            const double gain = by_kernel.gains[n_shown + t];
            CHECK(std::abs(direct.gains[t] - gain) <= 1e-7 * gain + 1e-10);
        }
        if (n_shown > 0) continue;
        options.window = 6;
        const Selection windowed = select(p, options, kPicks);
        const Selection expected = select_kernel(kernel, n_all, 6, kPicks);
        CHECK(windowed.indices == expected.indices);
    }
}

TEST(dpp_refuses_invalid_facets) {
    const Problem p = random_problem(3, 10, 4);
    const std::vector<std::int64_t> codes(20);
    std::vector<double> weights = {0.5, 0.6};
    DppOptions options;
    options.facets = codes;
    options.facet_weights = weights;
    CHECK(refused(select(p, options, 3), "sum to 1.1"));
    weights = {0.5, -0.1};
    CHECK(refused(select(p, options, 3), "facet_weights holds -0.1"));
    weights = {0.5, std::numeric_limits<double>::quiet_NaN()};
    CHECK(refused(select(p, options, 3), "facet_weights holds"));
    weights = {0.5, 0.4};
    options.facets = std::span(codes).first(19);
    CHECK(refused(select(p, options, 3), "facets has 19 entries, expected 2 × 10"));
    options.facets = codes;
    options.shown_facets = codes;
    CHECK(refused(select(p, options, 3), "shown_facets has 20 entries, expected 2 × 0"));
}

TEST(dpp_selection_is_a_prefix_of_a_longer_one_bit_by_bit) {
    const Problem p = random_problem(9, 2000, 16);
    const Selection longest = select(p, {}, 300);
    for (const std::size_t k : {1u, 50u, 299u}) {
        const Selection s = select(p, {}, k);
        CHECK(std::equal(s.indices.begin(), s.indices.end(), longest.indices.begin()));
        CHECK(std::equal(s.gains.begin(), s.gains.end(), longest.gains.begin()));
    }
}

TEST(dpp_fill_orders_by_relevance_beyond_the_rank) {
    const Problem p = random_problem(10, 100, 4);
    DppOptions options;
    options.ridge = 0.0;
    const Selection s = select(p, options, 100);
    CHECK(s.count.n_dpp == 4 && s.count.selected == 100);
    for (std::size_t t = 5; t < 100; ++t) {
        const auto before = static_cast<std::size_t>(s.indices[t - 1]);
        const auto here = static_cast<std::size_t>(s.indices[t]);
        CHECK(p.relevance[before] >= p.relevance[here] && s.gains[t] == 0.0);
    }
    std::vector<std::int64_t> sorted = s.indices;
    std::sort(sorted.begin(), sorted.end());
    CHECK(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
    options.fill = DppFill::none;
    CHECK(select(p, options, 100).count.selected == 4);
}

TEST(dpp_stops_if_residual_is_below_1e_6) {
    DppOptions options;
    options.ridge = 0.0;
    options.fill = DppFill::none;
    for (unsigned seed = 0; seed < 2000; ++seed) {
        Problem p = random_problem(seed, 2, 8);
        p.relevance = {1.0f, 0.0f};
        const float near = 5e-4f + 1e-6f * static_cast<float>(seed % 1000);
        double squares[2] = {};
        double dot = 0.0;
        for (std::size_t d = 0; d < 8; ++d) {
            p.embeddings[8 + d] = p.embeddings[d] + near * p.embeddings[8 + d];
            const double x[] = {p.embeddings[d], p.embeddings[8 + d]};
            for (int i = 0; i < 2; ++i) squares[i] += x[i] * x[i];
            dot += x[0] * x[1];
        }
        const double rho = 1.0 - dot * dot / (squares[0] * squares[1]);
        const bool both = select(p, options, 2).count.selected == 2;
        CHECK(both ? rho > 1e-6 - 1e-12 : rho < 2e-6);  // candidates are found in float32, and confirmed exactly
    }
}

TEST(dpp_alpha_follows_from_diversity) {
    CHECK(dpp_alpha(0.5) == 0.5 && dpp_alpha(1.0) == 0.0 && std::isinf(dpp_alpha(0.0)));
}

TEST(dpp_refuses_invalid_arguments) {
    Problem p = random_problem(11, 5, 3);
    DppOptions options;
    options.type_weight = 0.5;
    CHECK(refused(select(p, options, 2), "need types"));
    options = {};
    for (const double ridge : {-1.0, 10.1, 1e300, std::numeric_limits<double>::quiet_NaN()}) {
        options.ridge = ridge;
        CHECK(refused(select(p, options, 2), "ridge must lie in [0, 10]"));
    }
    options = {};
    options.alpha = std::numeric_limits<double>::quiet_NaN();
    CHECK(refused(select(p, options, 2), "alpha"));
    options = {};
    options.window = 0;
    CHECK(refused(select(p, options, 2), "window"));
    options = {};
    options.shown = {p.embeddings.data(), 1, 2, DType::float32};
    CHECK(refused(select(p, options, 2), "shown has shape (1, 2)"));
    p.relevance[3] = std::numeric_limits<float>::infinity();
    CHECK(refused(select(p, {}, 2), "relevance holds infinity at position 3"));
    p.relevance.pop_back();
    CHECK(refused(select(p, {}, 2), "relevance has shape (4,), expected (5,) as embeddings has shape (5, 3)"));
    CHECK(refused(select_kernel({1, 2, 3}, 2, {}, 1), "expected 2 × 2"));
    CHECK(refused(select_kernel({1, 0, 0, -1}, 2, {}, 1), "(1, 1)"));
}

TEST(dpp_of_no_items_or_positions_is_empty) {
    const Problem none{0, 3, {}, {}};
    CHECK(select(none, {}, 4).status.ok() && select(none, {}, 4).count.selected == 0);
    CHECK(select(random_problem(12, 5, 3), {}, 0).count.selected == 0);
}

TEST(dpp_refuses_vectors_that_are_not_floats) {
    const Problem p = random_problem(16, 6, 4);
    std::vector<std::int64_t> indices(3);
    std::vector<double> gains(3);
    for (const DType dtype : {DType::float64, DType::int8, DType::int64, DType::boolean}) {
        const std::vector<double> zeros(24);
        const MatrixView other{zeros.data(), 6, 4, dtype};
        DppOptions options;
        const auto refuses = [&](const MatrixView& embeddings, const char* name) {
            const Status status = dpp_select(embeddings, p.relevance, options, indices, gains).status();
            const std::string words = std::string(name) + " must be float16 or float32";
            return status.code() == Code::invalid_argument && status.message() == words;
        };
        options.shown = {p.embeddings.data(), 2, 4, DType::float32};
        CHECK(refuses(other, "embeddings"));
        options.shown = {zeros.data(), 2, 4, dtype};
        CHECK(refuses(p.view(), "shown"));
    }
}

TEST(dpp_select_kernel_refuses_a_kernel_with_too_few_entries) {
    const std::vector<double> kernel(4, 1.0);
    const std::size_t wraps = std::size_t{1} << (sizeof(std::size_t) * 4);  // squared, it is 0
    for (const std::size_t n : {wraps, wraps + 2, std::size_t{1}, std::size_t{3}}) {
        CHECK(refused(select_kernel(kernel, n, {}, 1), "kernel has 4 entries"));
    }
    CHECK(refused(select_kernel({}, wraps, {}, 1), "kernel has 0 entries"));
    CHECK(select_kernel({}, 0, {}, 1).status.ok());
}

TEST(dpp_keeps_min_per_type) {
    Problem p = random_problem(15, 60, 6);
    std::vector<std::int64_t> types(60, 0);
    for (std::size_t i = 50; i < 60; ++i) {
        types[i] = 1;
        p.relevance[i] -= 9.0f;
    }
    DppOptions options;
    options.types = types;
    const auto of_type_1 = [](const Selection& s) {
        return std::count_if(s.indices.begin(), s.indices.end(), [](std::int64_t i) { return i >= 50; });
    };
    CHECK(of_type_1(select(p, options, 10)) == 0);
    options.min_per_type = 3;
    CHECK(of_type_1(select(p, options, 10)) == 3);
    options.window = 4;
    CHECK(of_type_1(select(p, options, 10)) == 3);
    options.max_per_type = 2;
    CHECK(refused(select(p, options, 2), "min_per_type"));
}

TEST(dpp_keeps_max_per_type) {
    const Problem p = random_problem(16, 60, 6);
    std::vector<std::int64_t> types(60);
    for (std::size_t i = 0; i < 60; ++i) types[i] = static_cast<std::int64_t>(i % 4);
    DppOptions options;
    options.types = types;
    options.max_per_type = 3;
    for (const DppFill fill : {DppFill::none, DppFill::relevance}) {
        options.fill = fill;
        const Selection s = select(p, options, 20);
        std::vector<int> taken(4);
        for (std::size_t t = 0; t < s.count.selected; ++t) ++taken[static_cast<std::size_t>(s.indices[t]) % 4];
        CHECK(s.count.selected == 12 && taken == std::vector<int>(4, 3));
    }
}

#if !defined(__SANITIZE_THREAD__)  // the test races with the call on purpose
TEST(dpp_selects_valid_items_if_types_change_during_the_call) {
    constexpr std::size_t kItems = 4096;
    std::vector<std::int64_t> types(kItems, 1);
    std::atomic<bool> done = false;
    std::thread writer([&] {
        for (std::int64_t next = 2; !done; ++next) {
            for (std::int64_t& type : types) std::atomic_ref(type).store(next, std::memory_order_relaxed);
        }
    });
    bool has_items = true;
    for (int round = 0; round < 300; ++round) {
        const TypeQuota quota(types, 1, 0);
        for (std::size_t i = 0; i < kItems; ++i) has_items &= !quota.items_of_same_type(i).empty();
    }
    done = true;
    writer.join();
    CHECK(has_items);
}
#endif
