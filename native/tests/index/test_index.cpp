// ItemIndex in C++: results, and the Status of each wrong argument.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "check.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

const std::vector<std::int64_t> kIds = {40, -3, 1'000'000'000'000, 7};
const std::vector<float> kVectors = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
const std::vector<std::int32_t> kCreators = {5, 5, 6, 7};

MatrixView matrix(const std::vector<float>& values, std::size_t rows, std::size_t cols) {
    return {values.data(), rows, cols, DType::float32};
}

ItemIndex make() {
    const Column column{"creator_id", DType::int32, std::as_bytes(std::span(kCreators))};
    ItemIndex::BuildOptions options;
    options.columns = {&column, 1};
    options.model_version = 7;
    auto index = ItemIndex::build(kIds, matrix(kVectors, 4, 3), options);
    CHECK(index.ok());
    return index.value();
}

struct Out {
    explicit Out(std::size_t k) : scores(k), ids(k), rows(k), positions(k) {}
    Ranked spans() { return {scores, ids, rows, positions}; }
    std::vector<float> scores;
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> rows;
    std::vector<std::int64_t> positions;
};

bool refused(const Status& status, const char* words) {
    return status.code() == Code::invalid_argument && status.message().find(words) != std::string::npos;
}

const std::vector<float> kQuery = {1, 0, 0};

}  // namespace

TEST(index_reports_its_size_types_and_versions) {
    const ItemIndex index = make();
    CHECK(index.pinned().size() == 4 && index.pinned().dim() == 3 && index.pinned().dtype() == DType::float16);
    CHECK(index.pinned().model_version() == 7 && index.pinned().generation() == 1);
    const auto table = index.pinned().table().value();
    CHECK(std::ranges::equal(table->ids, kIds) && table->present.empty());
    CHECK(table->columns.size() == 1 && table->columns[0].name == "creator_id");
    CHECK(std::ranges::equal(table->columns[0].bytes, std::as_bytes(std::span(kCreators))));
}

TEST(copies_of_an_index_share_its_contents) {
    const ItemIndex index = make();
    ItemIndex copy = index;
    CHECK(copy.block(kIds).ok() && index.pinned().generation() == 2);
}

TEST(search_ranks_by_score_then_position_and_skips_unknown_ids) {
    const ItemIndex index = make();
    const std::vector<std::int64_t> wanted = {7, 99, -3, 7};
    std::vector<std::int32_t> rows(4);
    CHECK(index.pinned().lookup(wanted, rows).ok());
    CHECK((rows == std::vector<std::int32_t>{3, -1, 1, 3}));
    Out out(10);
    const auto counts = index.pinned().search(kQuery, Candidates::of_rows(rows), out.spans());
    CHECK(counts.ok() && counts->found == 3 && counts->unknown == 1);
    CHECK(out.ids[0] == 7 && out.positions[0] == 0 && out.scores[0] == 9.0f);
    CHECK(out.ids[1] == 7 && out.positions[1] == 3);
    CHECK(out.ids[2] == -3 && out.rows[2] == 1 && out.scores[2] == 3.0f);
}

TEST(scan_pads_lists_if_a_mask_excludes_rows) {
    const ItemIndex index = make();
    const std::vector<float> queries = {1, 0, 0, -1, 0, 0};
    const std::vector<std::uint8_t> mask = {1, 0, 1, 0};
    Out out(6);
    const Query each[] = {std::span(queries).first(3), std::span(queries).last(3)};
    std::vector<SearchCount> counts(2);
    CHECK(index.pinned().search_all(each, mask, out.spans(), counts).ok());
    CHECK(counts[0].found == 2 && counts[1].found == 2);
    CHECK((out.rows == std::vector<std::int32_t>{2, 0, -1, 0, 2, -1}));
    CHECK(std::isinf(out.scores[2]) && out.ids[2] == -1 && out.positions[5] == -1);
}

TEST(scores_and_vectors_of_unknown_rows_are_minus_infinity_and_0) {
    const ItemIndex index = make();
    const std::vector<std::int32_t> rows = {2, -1};
    std::vector<float> scores(2);
    CHECK(index.pinned().scores(kQuery, Candidates::of_rows(rows), scores).ok());
    CHECK(scores[0] == 6.0f && scores[1] == -std::numeric_limits<float>::infinity());
    std::vector<float> vectors(6);
    CHECK(index.pinned().gather(rows, vectors).ok());
    CHECK((vectors == std::vector<float>{6, 7, 8, 0, 0, 0}));
}

TEST(build_refuses_arguments_that_do_not_match) {
    const ItemIndex::BuildOptions plain;
    const auto build = [&](const std::vector<std::int64_t>& ids, MatrixView vectors) {
        return ItemIndex::build(ids, vectors, plain).status();
    };
    CHECK(refused(build({1, 2}, matrix(kVectors, 4, 3)), "(4, 3), ids has shape (2,)"));
    CHECK(refused(build({}, matrix(kVectors, 0, 0)), "1 to 65536 dimensions"));
    CHECK(refused(build({1, 2, 3, 1}, matrix(kVectors, 4, 3)), "1 appears twice"));
    const std::vector<float> nan = {0, std::numeric_limits<float>::quiet_NaN()};
    CHECK(refused(build({1, 2}, matrix(nan, 2, 1)), "NaN at (1, 0)"));
    const std::vector<float> big = {0, 65520};
    CHECK(refused(build({1, 2}, matrix(big, 2, 1)), "float16"));
    CHECK(refused(build({1}, {big.data(), 1, 1, DType::int32}), "float16 or float32"));
    const Column twice[] = {{"c", DType::int32, std::as_bytes(std::span(kCreators))},
                            {"c", DType::int32, std::as_bytes(std::span(kCreators))}};
    ItemIndex::BuildOptions options;
    options.columns = twice;
    CHECK(refused(ItemIndex::build(kIds, matrix(kVectors, 4, 3), options).status(), "appears twice"));
    options.columns = {twice, 1};
    CHECK(refused(ItemIndex::build({}, matrix(kVectors, 0, 3), options).status(), "column 'c' has 16 bytes"));
}

TEST(search_refuses_arguments_that_do_not_match) {
    const ItemIndex index = make();
    const std::vector<std::int32_t> rows = {0, 4};
    Out out(2);
    const auto both = Candidates::of_rows(rows);
    CHECK(refused(index.pinned().search(kQuery, both, out.spans()).status(), "rows holds 4 at position 1"));
    CHECK(refused(index.pinned().search(std::vector<float>(), both, out.spans()).status(),
                  "query has 0 values, expected 3"));
    const std::vector<float> nan = {0, std::numeric_limits<float>::infinity(), 0};
    CHECK(refused(index.pinned().search(nan, both, out.spans()).status(), "infinity at position 1"));
    CHECK(refused(index.pinned().search(kQuery, {kIds, rows}, out.spans()).status(), "not as both"));
    Ranked uneven = out.spans();
    uneven.rows = uneven.rows.first(1);
    CHECK(refused(index.pinned().search(kQuery, {}, uneven).status(), "out.rows has 1"));
    const Query queries[] = {kQuery, nan};
    std::vector<SearchCount> counts(2);
    CHECK(refused(index.pinned().search_all(queries, {}, out.spans(), counts), "query 1 holds infinity"));
    const std::vector<std::uint8_t> mask(3);
    CHECK(refused(index.pinned().search_all({queries, 1}, mask, out.spans(), {counts.data(), 1}), "mask has 3"));
    std::vector<std::int32_t> short_rows(1);
    CHECK(refused(index.pinned().lookup(kIds, short_rows), "ids has 4"));
    std::vector<float> scores(1);
    const std::vector<std::int32_t> known = {0, 1};
    CHECK(refused(index.pinned().scores(kQuery, Candidates::of_rows(known), scores).status(), "out has 1"));
}

TEST(empty_index_finds_no_items) {
    auto built = ItemIndex::build({}, matrix({}, 0, 3), {});
    CHECK(built.ok());
    Out out(2);
    const Query query(kQuery);
    std::vector<SearchCount> found(1);
    CHECK(built->pinned().search_all({&query, 1}, {}, out.spans(), found).ok() && found[0].found == 0);
    const std::vector<std::int32_t> unknown = {-1, -1};
    const auto counts = built->pinned().search(kQuery, Candidates::of_rows(unknown), out.spans());
    CHECK(counts.ok() && counts->found == 0 && counts->unknown == 2);
}

TEST(dpp_of_rows_equals_dpp_of_their_vectors) {
    const std::size_t n = 200;
    const std::size_t dim = 9;
    std::vector<std::int64_t> ids(n);
    std::vector<float> vectors(n * dim);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<std::int64_t>(i);
    for (std::size_t i = 0; i < n * dim; ++i) vectors[i] = std::sin(static_cast<float>(i * i));
    std::vector<std::int32_t> rows;
    for (std::int32_t row = 199; row >= 0; row -= 2) rows.push_back(row);
    std::vector<float> relevance(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) relevance[i] = std::cos(static_cast<float>(i));
    for (const DType dtype : {DType::float16, DType::float32, DType::int8}) {
        for (const bool rescore : {false, true}) {
            if (rescore && dtype != DType::int8) continue;
            ItemIndex::BuildOptions options;
            options.dtype = dtype;
            options.rescore = rescore;
            const auto index = ItemIndex::build(ids, matrix(vectors, n, dim), options);
            std::vector<float> gathered(rows.size() * dim);
            CHECK(index.ok() && index->pinned().gather(rows, gathered).ok());
            std::vector<std::int64_t> picks(40);
            std::vector<std::int64_t> expected_picks(40);
            std::vector<double> gains(40);
            std::vector<double> expected_gains(40);
            const auto found = index->pinned().dpp_select(rows, relevance, {}, picks, gains);
            const auto expected =
                dpp_select(matrix(gathered, rows.size(), dim), relevance, {}, expected_picks, expected_gains);
            CHECK(found.ok() && expected.ok() && found->n_dpp == expected->n_dpp);
            CHECK(picks == expected_picks && gains == expected_gains && found->log_det == expected->log_det);
        }
    }
}

TEST(dpp_of_rows_names_the_first_row_without_an_item) {
    ItemIndex index = make();
    const std::vector<float> relevance(3);
    std::vector<std::int64_t> picks(2);
    std::vector<double> gains(2);
    const auto of = [&](const std::vector<std::int32_t>& rows) {
        return index.pinned().dpp_select(rows, relevance, {}, picks, gains).status();
    };
    CHECK(of({0, 1, 2}).ok());
    CHECK(refused(of({0, kUnknownRow, 4}), "rows holds -1 at position 1: the index has no item there"));
    CHECK(refused(of({0, 1, 4}), "rows holds 4 at position 2"));
    CHECK(index.remove(std::vector<std::int64_t>{-3}).ok());
    CHECK(refused(of({2, 1, 1}), "rows holds 1 at position 1"));
    CHECK(refused(of({0, 2}), "relevance has shape (3,), expected (2,)"));
}

TEST(upsert_keeps_missing_columns) {
    const std::vector<std::int64_t> ids = {10, 11};
    const std::vector<std::int32_t> owners = {1, 2};
    const std::vector<float> prices = {0.5f, 1.5f};
    const Column columns[] = {{"owner", DType::int32, std::as_bytes(std::span(owners))},
                              {"price", DType::float32, std::as_bytes(std::span(prices))}};
    ItemIndex::BuildOptions options;
    options.columns = columns;
    const std::vector<float> vectors(6, 1.0f);
    ItemIndex index = ItemIndex::build(ids, matrix(vectors, 2, 3), options).value();
    const std::vector<float> dearer = {7.0f, 8.0f};
    const Column given{"price", DType::float32, std::as_bytes(std::span(dearer))};
    CHECK(index.upsert(ids, matrix(vectors, 2, 3), {&given, 1}, 0).ok());
    const IndexView view = index.pinned();
    std::vector<std::int32_t> rows(2);
    std::vector<std::int32_t> owners_now(2);
    std::vector<float> prices_now(2);
    CHECK(view.lookup(ids, rows).ok());
    CHECK(view.gather_column("owner", rows, std::as_writable_bytes(std::span(owners_now))).ok());
    CHECK(view.gather_column("price", rows, std::as_writable_bytes(std::span(prices_now))).ok());
    CHECK(owners_now == owners && prices_now == dearer);

    const std::vector<std::int64_t> one_new = {11, 12};
    const auto put = [&](const Column& column) {
        return index.upsert(one_new, matrix(vectors, 2, 3), {&column, 1}, 0);
    };
    CHECK(refused(put(given), "column 'owner' is missing, and id 12 (position 1) is new"));
    const Column other{"price", DType::int32, std::as_bytes(std::span(owners))};
    CHECK(refused(put(other), "column 'price' has dtype int32, expected float32"));
    const Column unknown{"colour", DType::int32, std::as_bytes(std::span(owners))};
    CHECK(refused(put(unknown), "the index has no column 'colour'"));
    const Column twice[] = {given, given};
    CHECK(refused(index.upsert(ids, matrix(vectors, 2, 3), twice, 0), "column 'price' appears twice"));
    CHECK(index.pinned().generation() == view.generation());
}

TEST(bool_columns_read_any_nonzero_byte_as_one) {
    const std::vector<std::uint8_t> flags = {0, 1, 2, 255};
    const Column column{"is_live", DType::boolean, std::as_bytes(std::span(flags))};
    ItemIndex::BuildOptions options;
    options.columns = {&column, 1};
    const ItemIndex built = ItemIndex::build(kIds, matrix(kVectors, 4, 3), options).value();
    const char* path = "test_index_flags.karec";
    CHECK(built.pinned().save(path).ok());
    for (const ItemIndex& index : {built, ItemIndex::open(path).value(), ItemIndex::open(path, {false}).value()}) {
        std::vector<std::uint8_t> found(4);
        const std::vector<std::int32_t> rows = {0, 1, 2, 3};
        CHECK(index.pinned().gather_column("is_live", rows, std::as_writable_bytes(std::span(found))).ok());
        CHECK((found == std::vector<std::uint8_t>{0, 1, 1, 1}));
        const auto table = index.pinned().table().value();
        CHECK(std::ranges::equal(table->columns[0].bytes, std::as_bytes(std::span(found))));
    }
    std::remove(path);
}
