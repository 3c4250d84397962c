// Effects of a write to an ItemIndex on later reads, and the data that it keeps.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "karec/item_index.hpp"
#include "stages/bundle_files.hpp"

using namespace karec;

namespace {

const std::vector<std::int64_t> kIds = {10, 11, 12, 13};
const std::vector<float> kVectors = {1, 2, 3, 4};  // one dimension: a score is the query times the work's number
const std::vector<float> kQuery = {1};

ItemIndex make() {
    return ItemIndex::build(kIds, {kVectors.data(), 4, 1, DType::float32}, {}).value();
}

Status put(ItemIndex& index, const std::vector<std::int64_t>& ids, const std::vector<float>& vectors) {
    return index.upsert(ids, {vectors.data(), vectors.size(), 1, DType::float32}, {}, 0);
}

struct Found {
    std::vector<std::int64_t> ids;
    std::vector<float> scores;
};

// All works of a scan, best first.
Found scan(const ItemIndex& index, const std::vector<std::uint8_t>& mask = {}) {
    const std::size_t k = 8;
    Found found{std::vector<std::int64_t>(k), std::vector<float>(k)};
    std::vector<std::int32_t> rows(k);
    std::vector<std::int64_t> positions(k);
    const Query query{std::span<const float>(kQuery)};
    SearchCount count;
    CHECK(index.pinned().search_all({&query, 1}, mask, {found.scores, found.ids, rows, positions}, {&count, 1}).ok());
    found.ids.resize(count.found);
    found.scores.resize(count.found);
    return found;
}

using Ids = std::vector<std::int64_t>;

}  // namespace

TEST(adjustment_scales_a_score_before_it_adds_the_offset) {
    ItemIndex index = make();
    const std::vector<float> scales = {3, 1};
    const std::vector<float> offsets = {10, -0.5f};
    CHECK(index.adjust(Ids{11, 13}, scales, offsets).ok());
    std::vector<float> scores(4);
    CHECK(index.pinned().scores(kQuery, Candidates::of_ids(kIds), scores).ok());
    CHECK((scores == std::vector<float>{1, 16, 3, 3.5f}));
    const Found found = scan(index);
    CHECK((found.ids == Ids{11, 13, 12, 10} && found.scores == std::vector<float>{16, 3.5f, 3, 1}));
}

TEST(adjustments_apply_to_their_items_in_searches_and_saved_files) {
    constexpr std::size_t kWorks = 700;  // more than a block of candidates, and several words of a row set
    std::mt19937 random(6);
    std::vector<std::int64_t> ids(kWorks);
    std::vector<float> vectors(kWorks);
    std::vector<float> expected(kWorks);
    for (std::size_t i = 0; i < kWorks; ++i) {
        ids[i] = static_cast<std::int64_t>(3 * i);
        expected[i] = vectors[i] = static_cast<float>(1 + i % 100);
    }
    ItemIndex index = ItemIndex::build(ids, {vectors.data(), kWorks, 1, DType::float32}, {}).value();
    const auto adjust = [&](std::size_t i, float scale, float offset) {
        CHECK(index.adjust(std::span(ids).subspan(i, 1), {&scale, 1}, {&offset, 1}).ok());
        expected[i] = vectors[i] * scale + offset;
    };
    for (int step = 0; step < 300; ++step) {
        const std::size_t i = random() % kWorks;
        if (step % 4 == 3) {
            adjust(i, 1, 0);
        } else {
            adjust(i, static_cast<float>(random() % 4), static_cast<float>(random() % 9) - 4);
        }
        if (step % 5 == 0) CHECK(put(index, {ids[i]}, {vectors[i]}).ok());  // in another row
    }
    const std::vector<std::int64_t> gone(ids.begin() + 100, ids.begin() + 300);
    const auto as_expected = [&](const IndexView& view) {
        std::vector<float> scores(kWorks);
        CHECK(view.scores(kQuery, Candidates::of_ids(ids), scores).ok());
        CHECK(scores == expected);
        std::vector<std::int32_t> rows(kWorks);
        CHECK(view.lookup(ids, rows).ok());
        CHECK(view.scores(kQuery, Candidates::of_rows(rows), scores).ok());
        CHECK(scores == expected);
        std::vector<float> best(kWorks);
        std::vector<std::int64_t> found(kWorks);
        std::vector<std::int64_t> positions(kWorks);
        const Query query{std::span<const float>(kQuery)};
        SearchCount count;
        CHECK(view.search_all({&query, 1}, {}, {best, found, rows, positions}, {&count, 1}).ok());
        std::vector<float> sorted = expected;
        std::ranges::sort(sorted, std::greater<>());
        best.resize(count.found);
        sorted.resize(count.found);
        CHECK(best == sorted);
    };
    const char* path = "test_adjusted.karec";
    for (const bool fewer : {false, true}) {
        if (fewer) CHECK(index.remove(gone).ok());
        for (std::size_t i = 100; i < 300 && fewer; ++i) expected[i] = -std::numeric_limits<float>::infinity();
        as_expected(index.pinned());
        CHECK(index.pinned().save(path).ok());
        for (const bool verify : {true, false}) {
            ItemIndex opened = ItemIndex::open(path, {.verify = verify}).value();
            as_expected(opened.pinned());
            const std::span<const std::int64_t> one = std::span(ids).first(1);
            const float five = 5;
            float score = 0;
            CHECK(opened.adjust(one, {&five, 1}, {&five, 1}).ok());
            CHECK(opened.pinned().scores(kQuery, Candidates::of_ids(one), {&score, 1}).ok() &&
                  score == vectors[0] * 5 + 5);
        }
    }
    std::remove(path);
}

TEST(adjustment_keeps_the_sign_of_minus_zero) {
    ItemIndex index = ItemIndex::build(kIds, {kVectors.data(), 4, 1, DType::float32}, {}).value();
    const float minus = -0.0f;
    CHECK(index.calibrate(0, 1e-30f, minus).ok());
    const std::vector<float> query = {-1e-30f};  // a product that rounds to −0
    CHECK(index.adjust(Ids{10}, {}, {&minus, 1}).ok());
    std::vector<float> scores(2);
    CHECK(index.pinned().scores(query, Candidates::of_ids(Ids{10, 11}), scores).ok());
    CHECK(scores[0] == 0 && std::signbit(scores[0]));
    CHECK(scores[1] == 0 && !std::signbit(scores[1]));  // of {1, 0}, the same as of no adjustment
}

TEST(upsert_copies_an_offset_of_minus_zero) {
    ItemIndex index = make();
    const float minus = -0.0f;
    CHECK(index.adjust(Ids{10}, {}, {&minus, 1}).ok());
    CHECK(put(index, {10}, {1}).ok());
    CHECK(index.calibrate(0, 1e-30f, minus).ok());
    const std::vector<float> query = {-1e-30f};  // a product that rounds to −0
    float score = 1.0f;
    CHECK(index.pinned().scores(query, Candidates::of_ids(Ids{10}), {&score, 1}).ok());
    CHECK(score == 0.0f && std::signbit(score));
}

TEST(mask_includes_a_row_by_any_nonzero_byte) {
    CHECK((scan(make(), {1, 0, 255, 2}).ids == Ids{13, 12, 10}));
}

TEST(mask_excludes_rows_that_were_added_later) {
    ItemIndex index = make();
    CHECK(put(index, {14, 15}, {5, 6}).ok());
    CHECK((scan(index, {1, 0, 1, 1}).ids == Ids{13, 12, 10}));
    CHECK((scan(index, {1, 0, 1, 1, 1}).ids == Ids{14, 13, 12, 10}));
}

TEST(removed_item_is_not_in_scans) {
    ItemIndex index = make();
    CHECK(index.remove(Ids{12, 13}).ok());
    CHECK((scan(index).ids == Ids{11, 10}));
}

TEST(upsert_keeps_blocks_in_memory_and_in_a_saved_file) {
    ItemIndex index = make();
    CHECK(index.block(Ids{13}).ok() && put(index, {12, 13}, {9, 8}).ok());
    CHECK((scan(index).ids == Ids{12, 11, 10}));
    const BundleFolder folder;
    const std::string path = folder.root() + "/index.karec";
    CHECK(index.pinned().save(path).ok());
    ItemIndex again = ItemIndex::open(path).value();
    CHECK((scan(again).ids == Ids{12, 11, 10}));
    CHECK(again.unblock(Ids{13}).ok());
    CHECK((scan(again).ids == Ids{12, 13, 11, 10}));
}

TEST(upsert_refuses_repeated_ids) {
    ItemIndex index = make();
    const Status status = put(index, {14, 10, 14}, {1, 2, 3});
    CHECK(status.code() == Code::invalid_argument);
    CHECK(status.message().find("14") != std::string::npos);
    CHECK(index.pinned().generation() == 1 && index.pinned().size() == 4);
}

TEST(calibration_is_applied_before_the_adjustment_of_an_item) {
    ItemIndex index = make();
    const std::vector<float> moved = {7};
    CHECK(index.upsert(Ids{12}, {moved.data(), 1, 1, DType::float32}, {}, 1, 99).ok());
    CHECK(index.calibrate(0, 0.5f, 4).ok());
    const std::vector<float> scales = {10};
    CHECK(index.adjust(Ids{10}, scales, {}).ok());
    const VersionQuery each[] = {{0, kQuery}, {1, kQuery}};
    const Query query{std::span<const VersionQuery>(each)};
    std::vector<float> scores(4);
    CHECK(index.pinned().scores(query, Candidates::of_ids(kIds), scores).ok());
    CHECK((scores == std::vector<float>{45, 5, 7, 6}));
    const auto versions = index.pinned().versions().value();
    CHECK(versions.size() == 2 && versions[0].n_rows == 3 && versions[0].scale == 0.5f && versions[0].offset == 4);
    CHECK(versions[1].space_id == 99 && !versions[1].is_calibrated());

    const char* path = "test_index_writes.karec";
    CHECK(index.pinned().save(path).ok());
    std::vector<float> again(4);
    CHECK(ItemIndex::open(path).value().pinned().scores(query, Candidates::of_ids(kIds), again).ok());
    CHECK(again == scores);
    std::remove(path);
}

TEST(vectors_of_another_item_tower_need_another_model_version) {
    ItemIndex index = make();
    const std::vector<float> moved = {7};
    const MatrixView view{moved.data(), 1, 1, DType::float32};
    CHECK(index.upsert(Ids{12}, view, {}, 1, 0xabc).ok());
    const Status refused = index.upsert(Ids{13}, view, {}, 1, 0xdef);
    CHECK(refused.message() ==
          "the index has vectors of model version 1 in the space 0000000000000abc, these are in 0000000000000def: "
          "vectors of another item tower need another model version");
    CHECK(index.upsert(Ids{13}, view, {}, 1).ok() && index.upsert(Ids{13}, view, {}, 1, 0xabc).ok());
    CHECK(index.remove(Ids{12, 13}).ok());
    CHECK(index.upsert(Ids{13}, view, {}, 1, 0xdef).ok());  // no vector of the version was left
}

TEST(calibrate_refuses_bad_scales_and_versions_without_vectors) {
    ItemIndex index = make();
    for (const float scale : {0.0f, -1.0f, std::numeric_limits<float>::infinity()}) {
        CHECK(!index.calibrate(0, scale, 0).ok());
    }
    CHECK(!index.calibrate(0, 1, std::numeric_limits<float>::quiet_NaN()).ok());
    CHECK(index.calibrate(5, 1, 0).message() == "the index has no vector of model version 5");
    CHECK(index.pinned().generation() == 1);
}
