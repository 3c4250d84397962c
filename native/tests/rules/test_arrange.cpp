// arrange() as a C++ host calls it.
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "check.hpp"
#include "karec/arrange.hpp"

using namespace karec;

namespace {

using Labels = std::vector<std::int64_t>;
using Members = std::vector<std::uint8_t>;

struct ArrangeResult {
    ArrangeResult(std::size_t n, std::size_t k, const std::vector<ArrangeRule>& rules,
                  const std::vector<ArrangeSlot>& slots = {}, const Members& only = {})
        : indices(k), is_exact(arrange(n, rules, slots, only, indices, violations)) {}

    bool equals(const Labels& expected) const { return is_exact.ok() && is_exact.value() && indices == expected; }
    bool is_refused() const { return is_exact.status().code() == Code::invalid_argument; }

    Labels indices;
    std::vector<ArrangeViolation> violations;
    Result<bool> is_exact;
};

}  // namespace

TEST(arrange_separates_values_and_returns_the_first_best_list) {
    const Labels songs = {1, 1, 2, 2, 3};
    CHECK(ArrangeResult(5, 5, {{songs, songs, {}, 2, 0}}).equals({0, 2, 1, 3, 4}));
    CHECK(ArrangeResult(5, 3, {{songs, songs, songs, 2, 0}}).equals({0, 2, 1}));
}

TEST(arrange_windows_include_shown_items) {
    const Labels songs = {1, 2, 3};
    const Labels shown = {9, 1, 2};
    const ArrangeResult found(3, 3, {{songs, songs, shown, 3, 0}});
    CHECK(found.equals({2, 0, 1}) && found.violations.empty());
}

TEST(arrange_returns_the_least_violation) {
    const Labels songs = {1, 1, 1, 2};
    const ArrangeResult found(4, 4, {{songs, songs, {}, 2, 0}});
    CHECK(found.equals({0, 1, 3, 2}));
    CHECK(found.violations.size() == 1);
    CHECK(found.violations[0].position == 1 && found.violations[0].rule == 0 && found.violations[0].excess == 1);
}

TEST(arrange_puts_members_in_slots_and_reports_unmet_slots) {
    const Members pinned = {1, 0, 0, 0};
    CHECK(ArrangeResult(4, 3, {}, {{2, pinned, false}}).equals({1, 2, 0}));
    CHECK(ArrangeResult(4, 4, {}, {{1, {}, true}}).equals({0, -1, 1, 2}));
    const Members no_members = {0, 0, 0, 0};
    const ArrangeResult unmet(4, 2, {}, {{1, no_members, false}});
    CHECK(unmet.equals({0, 1}) && unmet.violations.size() == 1 && unmet.violations[0].rule == 0);
}

TEST(arrange_puts_slot_only_items_only_in_slots) {
    const Members ads = {1, 0, 0, 1};
    CHECK(ArrangeResult(4, 3, {}, {{1, ads, false}}, ads).equals({1, 0, 2}));
    CHECK(ArrangeResult(4, 4, {}, {{1, ads, false}}, ads).equals({1, 0, 2, -1}));
}

TEST(window_longer_than_the_session_is_the_whole_session) {
    const Labels songs = {1, 1, 2};
    const Labels shown = {1};
    const ArrangeResult found(3, 3, {{songs, songs, shown, std::numeric_limits<std::size_t>::max(), 0}});
    CHECK(found.equals({0, 1, 2}));
    CHECK(found.violations.size() == 2 && found.violations[1].excess == 2);
}

TEST(arrange_stops_a_long_search) {
    Labels values(200);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i * i % 7);
    Labels others(200);
    for (std::size_t i = 0; i < others.size(); ++i) others[i] = static_cast<std::int64_t>(i * 5 % 11 % 4);
    const ArrangeResult found(200, 150, {{values, values, {}, 9, 0}, {others, others, {}, 8, 1}});
    CHECK(found.is_exact.ok() && !found.is_exact.value());
    Members seen(200, 0);
    for (const std::int64_t item : found.indices) CHECK(seen[static_cast<std::size_t>(item)]++ == 0);
}

TEST(arrange_reads_any_nonzero_byte_as_true) {
    const Members ones = {1, 0, 0, 1};
    const Members others = {2, 0, 0, 255};
    CHECK(ArrangeResult(4, 4, {}, {{1, others, false}}, others)
              .equals(ArrangeResult(4, 4, {}, {{1, ones, false}}, ones).indices));
    CHECK(ArrangeResult(8, 8, {}, {}, Members(8, 2)).equals(Labels(8, -1)));
    const Labels labels = {7, 7, 7, 7};
    const ArrangeResult greedy(4, 4, {{labels, labels, {}, 2, 0}}, {{1, others, false}}, others);
    CHECK(greedy.is_exact.ok() && (greedy.indices == Labels{1, 0, 2, -1}));
}

TEST(arrange_without_arrays_selects_the_first_k_items) {
    const std::size_t most = std::numeric_limits<std::int32_t>::max();
    CHECK(ArrangeResult(most, 3, {}).equals({0, 1, 2}));
    CHECK(ArrangeResult(most, 4, {}, {{1, {}, true}}).equals({0, -1, 1, 2}));
}

TEST(arrange_refuses_more_items_than_an_index_has_rows) {
    for (const std::size_t n : {std::size_t{1} << 31, std::numeric_limits<std::size_t>::max()}) {
        const ArrangeResult found(n, 3, {});
        CHECK(found.is_refused() && found.is_exact.status().message().starts_with("n is " + std::to_string(n)));
    }
}

TEST(arrange_refuses_invalid_arguments) {
    const Labels two = {1, 2};
    const Members three = {1, 0, 0};
    CHECK(ArrangeResult(3, 3, {{two, two, {}, 2, 0}}).is_refused());
    CHECK(ArrangeResult(2, 2, {{two, two, {}, 1, 0}}).is_refused());
    CHECK(ArrangeResult(2, 2, {}, {{2, {}, true}}).is_refused() &&
          ArrangeResult(2, 2, {}, {{0, {}, true}, {0, {}, true}}).is_refused());
    CHECK(ArrangeResult(2, 2, {}, {{0, three, false}}).is_refused() && ArrangeResult(2, 2, {}, {}, three).is_refused());
}
