// Codes and numbers of model inputs.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "check.hpp"
#include "features/cross_tables.hpp"
#include "features/numbers.hpp"
#include "features/vocabulary.hpp"

using namespace karec;

TEST(vocabulary_codes_known_ids_by_place_and_others_by_hash) {
    const auto vocabulary = Vocabulary::from_keys({7, 0, 9, std::numeric_limits<std::int64_t>::max()});
    CHECK(vocabulary.ok());
    CHECK(vocabulary->code(7) == 1 && vocabulary->code(0) == 2 && vocabulary->code(9) == 3);
    CHECK(vocabulary->code(std::numeric_limits<std::int64_t>::max()) == 4);
    CHECK(vocabulary->code(-1) == 0 && vocabulary->known_code(-1) == 0 && vocabulary->known_code(8) == 0);
    CHECK(vocabulary->code(8) >= kFirstUnseen && vocabulary->code(8) == vocabulary->code(8));
    CHECK(vocabulary->code(8) != vocabulary->code(10) && vocabulary->known_code(9) == 3);
    CHECK(Vocabulary::from_keys({})->code(3) >= kFirstUnseen);
    CHECK(!Vocabulary::from_keys({1, 2, 1}).ok() && !Vocabulary::from_keys({1, -2}).ok());
}

TEST(vocabulary_finds_ids_that_collide_in_one_slot) {
    // Multiples of the inverse of the golden multiplier have homes in order: all in the first slots.
    std::uint64_t inverse = 1;
    for (int i = 0; i < 6; ++i) inverse *= 2 - 0x9E3779B97F4A7C15 * inverse;
    std::vector<std::int64_t> keys;
    for (std::uint64_t i = 1; keys.size() < 50'000; ++i) {
        const auto key = static_cast<std::int64_t>(i * inverse);
        if (key >= 0) keys.push_back(key);
    }
    const auto vocabulary = Vocabulary::from_keys(keys);
    CHECK(vocabulary.ok());
    for (std::size_t k = 0; k < keys.size(); ++k) CHECK(vocabulary->code(keys[k]) == static_cast<std::int64_t>(k) + 1);
}

TEST(codes_of_32_bits_keep_known_values_and_mark_unseen_ones) {
    CHECK(to_code32(0) == 0 && to_code32(1 << 30) == 1u << 30);
    CHECK(to_code32(kFirstUnseen | 5) == ((1u << 31) | 5) && to_code32(kFirstUnseen | (1ll << 31)) == 1u << 31);
}

TEST(cross_tables_have_a_value_for_each_code_of_the_users_lists) {
    // Categories: the item's id and its creator. Features: ln(1 + number in history), followed.
    const std::int64_t unseen = kFirstUnseen | 9;
    const std::vector<std::int64_t> history{1, 5, 2, 5, 3, unseen};
    const std::vector<std::int64_t> follows{7, 0, 5};
    CrossInputs user;
    user.n_users = 1;
    user.n_categories = 2;
    user.history = history;
    user.has_creators = true;
    user.creator = 1;
    user.follows = follows;
    CHECK(user.category_of(1) == 1 && user.category_of(8) == 1 && user.category_of(0) == 0);
    CHECK(user.category_of(10) == 2 && user.category_of(static_cast<std::size_t>(-1)) == 2);
    const CrossWeights weights{{1, 8, 10}, {}, {}, {1.0, 10.0, 5.0}};
    const std::vector<std::size_t> categories{1};
    const auto tables = compute_cross_tables(user, weights, categories);
    CHECK(tables.size() == 1 && tables[0].other == 0.0f);
    const std::vector<std::uint32_t> codes{0, 5, 7, to_code32(unseen)};
    const std::vector<double> values{0.0, std::log(3.0) + 10.0, 10.0, std::log(2.0)};
    CHECK(std::ranges::equal(tables[0].codes, codes) && tables[0].values.size() == codes.size());
    for (std::size_t i = 0; i < codes.size(); ++i) CHECK(std::fabs(tables[0].values[i] - values[i]) < 1e-5);
    CHECK(compute_cross_tables({.n_users = 1, .n_categories = 2}, weights, categories)[0].codes.size() == 1);
    CHECK(!CrossWeights::read({}).ok());
}

TEST(fixed_log1p_equals_the_c_library_within_4e_16) {
    for (double x : {0.0, 1e-300, 1e-17, 1e-9, 0.3, 1.0, 2.0, 99.0, 1e6, 1e15, 1e300}) {
        CHECK(std::fabs(fixed_log1p(x) - std::log1p(x)) <= 4e-16 * std::log1p(x));
    }
    CHECK(fixed_log1p(std::numeric_limits<double>::infinity()) == std::numeric_limits<double>::infinity());
    CHECK(std::isnan(fixed_log1p(-2.0)) && std::isnan(fixed_log1p(std::nan(""))));
    CHECK(fixed_log1p(-1.0) == -std::numeric_limits<double>::infinity());
}

TEST(number_scale_maps_nan_to_0_and_clips_others) {
    const NumberScale scale{false, 2.0, 0.5};
    CHECK(scale(2.5) == 1.0f && scale(std::nan("")) == 0.0f && scale(1e9) == 8.0f && scale(-1e9) == -8.0f);
    const NumberScale log{true, 0.0, 1.0};
    CHECK(log(-5.0) == 0.0f && log(std::numeric_limits<double>::infinity()) == 8.0f && log(std::nan("")) == 0.0f);
    CHECK(log_hours(1000, 1000) == 0.0 && log_hours(2000, 1000) == 0.0 && std::isnan(log_hours(0, 1000)));
    CHECK(std::fabs(log_hours(1000, 1000 + 3 * kHourMs) - std::log(4.0)) < 1e-15);
}

TEST(counter_numbers_are_0_without_impressions) {
    const std::vector<double> priors{0.2, 0.5};
    std::vector<float> out(3);
    counter_numbers(std::vector<float>{0, 0, 0}, priors, out);
    CHECK((out == std::vector<float>{0, 0, 0}));
    counter_numbers(std::vector<float>{10, 5, 5}, priors, out);
    CHECK(std::fabs(out[0] - 0.25f * std::log(11.0f)) < 1e-6f && out[1] > 0 && out[2] == 0.0f);
    counter_numbers(std::vector<float>{3, 5, 0}, priors, out);  // more positives than exposures: no negatives
    CHECK(std::fabs(out[1] - std::log((5 / 0.2 + 10) / 10)) < 1e-6 && out[2] < 0);
}
