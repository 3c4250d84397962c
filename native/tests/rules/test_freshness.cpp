// Freshness, tone, quotas and standardised scores as a C++ host uses them.
#include "karec/freshness.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "check.hpp"

using namespace karec;

namespace {

template <class T>
Column column(DType dtype, const std::vector<T>& values) {
    return {"column", dtype, std::as_bytes(std::span(values))};
}

using Kept = std::vector<std::uint8_t>;
constexpr std::int64_t kHour = 3'600'000;
const float kNan = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEST(freshness_halves_per_half_life_and_future_items_have_age_0) {
    const std::int64_t now = 1'000'000 * kHour;
    const std::vector<std::int64_t> uploads = {now, now - 24 * kHour, now - 48 * kHour, now + kHour};
    const std::vector<float> scores = {0, 1, 2, -8};
    std::vector<float> out(4);
    CHECK(freshness(scores, column(DType::int64, uploads), now, 8.0, 24.0, out).ok());
    CHECK((out == std::vector<float>{8, 5, 4, 0}));
}

TEST(tone_compares_in_the_dtype_of_the_column) {
    const std::vector<float> tones = {0.7f, std::nextafter(0.7f, 0.0f), 1.0f, kNan};
    Kept keep(4);
    CHECK(tone(column(DType::float32, tones), 0.7, keep).ok() && (keep == Kept{1, 0, 1, 0}));
    const std::vector<std::int32_t> whole = {1, 2, 3, -4};
    CHECK(tone(column(DType::int32, whole), 2.0, keep).ok() && (keep == Kept{0, 1, 1, 0}));
}

TEST(bool_columns_count_any_nonzero_byte_as_one) {
    const std::vector<std::uint8_t> flags = {0, 1, 2, 255};
    Kept keep(4);
    CHECK(tone(column(DType::boolean, flags), 1.5, keep).ok() && (keep == Kept{0, 0, 0, 0}));
    CHECK(tone(column(DType::boolean, flags), 1.0, keep).ok() && (keep == Kept{0, 1, 1, 1}));
    const std::vector<float> scores = {0, 1, 2, 3};
    CHECK(quota(scores, column(DType::boolean, flags), 1, keep).ok() && (keep == Kept{1, 0, 0, 1}));
    CHECK(quota(scores, column(DType::uint8, flags), 1, keep).ok() && (keep == Kept{1, 1, 1, 1}));
}

TEST(quota_keeps_the_best_of_each_group_and_ties_by_position) {
    const std::vector<std::int64_t> creators = {5, 5, 6, 5, 5, 6};
    const std::vector<float> scores = {1, 3, 0, 3, 3, -1};
    Kept keep(6);
    CHECK(quota(scores, column(DType::int64, creators), 2, keep).ok() && (keep == Kept{0, 1, 1, 1, 0, 1}));
    CHECK(quota(scores, column(DType::int64, creators), 1, keep).ok() && (keep == Kept{0, 1, 1, 0, 0, 0}));
    const std::vector<float> groups = {kNan, 1, kNan, 1, 1, kNan};
    CHECK(quota(scores, column(DType::float32, groups), 1, keep).ok() && (keep == Kept{1, 1, 1, 0, 0, 1}));
}

TEST(standardise_uses_the_deviation_of_all_scores) {
    std::vector<float> out(4);
    CHECK(standardise(std::vector<float>{1, 3, 1, 3}, out).ok() && (out == std::vector<float>{-1, 1, -1, 1}));
    CHECK(standardise(std::vector<float>(4, 7.0f), out).ok() && (out == std::vector<float>(4, 0.0f)));
}

TEST(freshness_and_quota_refuse_invalid_arguments) {
    const std::vector<float> scores = {1, kNan};
    const std::vector<std::int64_t> groups = {1, 2};
    std::vector<float> out(2);
    Kept keep(2);
    const Column times = column(DType::int64, groups);
    CHECK(standardise(scores, out).code() == Code::invalid_argument);
    CHECK(quota(scores, times, 1, keep).code() == Code::invalid_argument);
    CHECK(quota(std::vector<float>{1, 2}, times, 0, keep).code() == Code::invalid_argument);
    CHECK(freshness(scores, column(DType::float32, scores), 0, 1.0, 1.0, out).code() == Code::invalid_argument);
    CHECK(freshness(scores, times, 0, std::nan(""), 1.0, out).code() == Code::invalid_argument);
    CHECK(freshness(scores, times, 0, 1.0, 0.0, out).code() == Code::invalid_argument);
}
