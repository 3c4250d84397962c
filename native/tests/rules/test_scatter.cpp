// Rule scatter as a C++ host uses it.
#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "check.hpp"
#include "karec/scatter.hpp"

using namespace karec;

TEST(the_result_is_a_permutation_and_every_violation_is_reported) {
    std::mt19937 random(1);
    for (int round = 0; round < 500; ++round) {
        const std::size_t n = random() % 40;
        std::vector<std::int64_t> songs(n);
        std::vector<std::int64_t> creators(n);
        for (std::int64_t& x : songs) x = static_cast<std::int64_t>(random() % 6);
        for (std::int64_t& x : creators) x = static_cast<std::int64_t>(random() % 4);
        const ScatterRule rules[] = {{songs, 2, 1, {}}, {creators, 4, 2, {}}};
        std::vector<std::int64_t> order(n);
        std::vector<ScatterViolation> violations;
        CHECK(scatter(n, rules, order, violations).ok());
        std::vector<std::int64_t> sorted = order;
        std::sort(sorted.begin(), sorted.end());
        for (std::size_t i = 0; i < n; ++i) CHECK(sorted[i] == static_cast<std::int64_t>(i));
        std::size_t told = 0;
        for (std::size_t place = 0; place < n; ++place) {
            for (std::size_t r = 0; r < 2; ++r) {
                std::size_t count = 0;
                for (std::size_t at = place + 1 - std::min(place + 1, rules[r].window); at <= place; ++at) {
                    const auto value = [&](std::size_t p) {
                        return rules[r].values[static_cast<std::size_t>(order[p])];
                    };
                    count += value(at) == value(place);
                }
                if (count <= rules[r].max_count) continue;
                CHECK(told < violations.size() && violations[told].position == place && violations[told].rule == r &&
                      violations[told].count == count);
                ++told;
            }
        }
        CHECK(told == violations.size());
    }
}

TEST(a_value_that_would_not_fit_later_goes_first) {
    const std::vector<std::int64_t> values = {2, 1, 1};
    const ScatterRule rule{values, 2, 1, {}};
    std::vector<std::int64_t> order(3);
    std::vector<ScatterViolation> violations;
    CHECK(scatter(3, {&rule, 1}, order, violations).ok());
    CHECK((order == std::vector<std::int64_t>{1, 0, 2}) && violations.empty());
}

TEST(wrong_arguments_are_refused) {
    const std::vector<std::int64_t> values = {2, 1, 1};
    std::vector<std::int64_t> order(3);
    std::vector<ScatterViolation> violations;
    const auto refused = [&](std::size_t n, ScatterRule rule) {
        return scatter(n, {&rule, 1}, order, violations).code() == Code::invalid_argument;
    };
    CHECK(refused(3, {values, 1, 1, {}}) && refused(3, {values, 2, 2, {}}) && refused(3, {values, 2, 0, {}}));
    CHECK(refused(4, {values, 2, 1, {}}) && refused(2, {values, 2, 1, {}}));
}

TEST(windows_reach_back_into_what_was_shown) {
    const std::vector<std::int64_t> values = {1, 2, 3};
    const std::vector<std::int64_t> shown = {9, 1, 2};
    const ScatterRule rule{values, 3, 1, shown};
    std::vector<std::int64_t> order(3);
    std::vector<ScatterViolation> violations;
    CHECK(scatter(3, {&rule, 1}, order, violations).ok());
    CHECK((order == std::vector<std::int64_t>{2, 0, 1}) && violations.empty());
}

TEST(a_window_beyond_the_session_is_the_whole_session) {
    std::mt19937 random(2);
    for (int round = 0; round < 200; ++round) {
        std::vector<std::int64_t> values(random() % 12);
        std::vector<std::int64_t> shown(random() % 5);
        for (std::int64_t& x : values) x = static_cast<std::int64_t>(random() % 4);
        for (std::int64_t& x : shown) x = static_cast<std::int64_t>(random() % 4);
        const auto counts = [&](std::size_t window, std::vector<std::int64_t>& order) {
            const ScatterRule rule{values, window, 1, shown};
            std::vector<ScatterViolation> violations;
            CHECK(scatter(values.size(), {&rule, 1}, order, violations).ok());
            std::vector<std::size_t> flat;
            for (const ScatterViolation& v : violations) flat.insert(flat.end(), {v.position, v.count});
            return flat;
        };
        std::vector<std::int64_t> order(values.size());
        std::vector<std::int64_t> expected(values.size());
        const auto whole = counts(100, expected);
        for (const std::size_t window : {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1}) {
            CHECK(counts(window, order) == whole && order == expected);
        }
    }
}
