// Trees against a walk from node to node, on the instruction set of this process; and nodes that are not trees.
#include "trees/tree_ensemble.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"

using namespace karec;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Forest {
    std::vector<std::int64_t> sizes;
    std::vector<std::int64_t> outputs;
    std::vector<std::int64_t> features;
    std::vector<float> values;
    std::vector<std::int64_t> children;
    std::vector<std::uint8_t> missing_first;

    TreeNodes nodes() const { return {sizes, outputs, features, values, children, missing_first}; }
};

// A tree whose newest or any leaf was split until it had `leaves`.
void grow(Forest& forest, std::size_t leaves, std::size_t n_features, bool chain, std::mt19937& random) {
    const std::size_t first = forest.features.size();
    std::normal_distribution<float> normal;
    std::vector<std::size_t> open{0};
    const auto add = [&] {
        forest.features.push_back(-1);
        forest.values.push_back(normal(random));
        forest.children.insert(forest.children.end(), {0, 0});
    };
    add();
    for (std::size_t i = 1; i < leaves; ++i) {
        const std::size_t place = chain ? open.size() - 1 : random() % open.size();
        const std::size_t node = open[place];
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(place));
        const std::size_t child = forest.features.size() - first;
        forest.features[first + node] = static_cast<std::int64_t>(random() % n_features);
        forest.children[2 * (first + node)] = static_cast<std::int64_t>(child);
        forest.children[2 * (first + node) + 1] = static_cast<std::int64_t>(child + 1);
        add();
        add();
        open.insert(open.end(), {child + random() % 2, 0});
        open.back() = 2 * child + 1 - open[open.size() - 2];
    }
    forest.sizes.push_back(static_cast<std::int64_t>(forest.features.size() - first));
}

float followed(const Forest& forest, std::int64_t output, const float* row) {
    float sum = 0.0f;
    std::size_t first = 0;
    for (std::size_t t = 0; t < forest.sizes.size(); ++t) {
        std::size_t at = first;
        while (forest.features[at] >= 0) {
            const float x = row[forest.features[at]];
            const bool to_first = std::isnan(x) ? forest.missing_first[at] != 0 : x <= forest.values[at];
            at = first + static_cast<std::size_t>(forest.children[2 * at + (to_first ? 0 : 1)]);
        }
        if (forest.outputs[t] == output) sum += forest.values[at];
        first += static_cast<std::size_t>(forest.sizes[t]);
    }
    return sum;
}

Forest forest_of(std::initializer_list<std::size_t> leaves, std::size_t n_features, std::mt19937& random) {
    Forest forest;
    for (const std::size_t each : leaves) {
        grow(forest, each, n_features, random() % 2 == 0, random);
        forest.outputs.push_back(static_cast<std::int64_t>(forest.outputs.size() % 2));
    }
    // Any byte but 0 is true.
    for (std::size_t i = 0; i < forest.features.size(); ++i) {
        forest.missing_first.push_back(static_cast<std::uint8_t>(random() % 2 * (1 + random() % 255)));
    }
    return forest;
}

}  // namespace

TEST(tree_scores_equal_sums_of_leaves_bit_by_bit) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    constexpr std::size_t kFeatures = 5;
    const Forest forest = forest_of({15, 1, 32, 33, 2, 100, kMaxLeaves, 15, 64}, kFeatures, random);
    const auto made = TreeEnsemble::from_nodes(forest.nodes(), kFeatures, 2);
    CHECK(made.ok());
    CHECK(made->n_trees() == 9);
    const std::array<float, 6> special{kNaN, kInfinity, -kInfinity, 0.0f, -0.0f, 1e-45f};
    for (const std::size_t n : {0u, 1u, 15u, 16u, 17u, 63u, 64u, 65u, 200u}) {
        std::vector<float> rows(n * kFeatures);
        for (float& x : rows) {
            const auto drawn = static_cast<std::uint32_t>(random());
            x = drawn % 4 == 0   ? special[drawn / 4 % special.size()]
                : drawn % 4 == 1 ? forest.values[drawn / 4 % forest.values.size()]
                                 : normal(random);
        }
        std::vector<float> out(2 * n, kNaN);
        CHECK(made->scores(rows, out).ok());
        for (std::size_t i = 0; i < out.size(); ++i) {
            const float expected = followed(forest, static_cast<std::int64_t>(i / n), &rows[i % n * kFeatures]);
            CHECK(std::bit_cast<std::uint32_t>(out[i]) == std::bit_cast<std::uint32_t>(expected));
        }
    }
}

TEST(random_changes_of_nodes_are_refused_or_stay_in_bounds) {
    std::mt19937 random(2);
    std::size_t refused = 0;
    for (int i = 0; i < 2000; ++i) {
        Forest forest = forest_of({7, 5}, 3, random);
        std::vector<std::int64_t>* const arrays[] = {&forest.sizes, &forest.outputs, &forest.features,
                                                     &forest.children};
        std::vector<std::int64_t>& altered = *arrays[random() % 4];
        const std::int64_t far = std::numeric_limits<std::int64_t>::max() - static_cast<std::int64_t>(random() % 2);
        const std::int64_t near = static_cast<std::int64_t>(random() % 14) - 2;
        altered[random() % altered.size()] = random() % 8 == 0 ? far : near;
        const auto made = TreeEnsemble::from_nodes(forest.nodes(), 3, 2);
        refused += made.ok() ? 0u : 1u;
        if (!made.ok()) continue;
        constexpr std::size_t kRows = 70;
        std::vector<float> out(2 * kRows);
        CHECK(made->scores(std::vector<float>(3 * kRows, 0.5f), out).ok());
    }
    CHECK(refused > 200);
    CHECK(refused < 2000);
}

TEST(from_nodes_names_an_unknown_feature) {
    std::mt19937 random(3);
    const Forest forest = forest_of({4, 4}, 8, random);
    const auto made = TreeEnsemble::from_nodes(forest.nodes(), 1, 2);
    CHECK(!made.ok());
    CHECK(made.status().message().find("tree 0: node 0 reads feature") == 0);
}
