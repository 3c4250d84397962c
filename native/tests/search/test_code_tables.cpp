// Look-ups of tables, and searches of an index with code columns.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"
#include "search/code_tables.hpp"

using namespace karec;

namespace {

constexpr std::uint32_t kLastCode = std::numeric_limits<std::uint32_t>::max();

struct OwnedTable {
    std::vector<std::uint32_t> codes;
    std::vector<float> values;
    float other = 0.0f;
    CodeTable view() const { return {codes, values, other}; }
    float find(std::uint32_t code) const {
        const auto found = std::ranges::lower_bound(codes, code);
        return found != codes.end() && *found == code ? values[static_cast<std::size_t>(found - codes.begin())] : other;
    }
};

// A code of a column of few values, of many, or of any with the ends of both kinds of table.
std::uint32_t draw_code(int kind, std::mt19937_64& random) {
    const std::uint32_t ends[] = {0, 1, 4094, 4095, 4096, kLastCode - 1, kLastCode};
    return kind == 0   ? static_cast<std::uint32_t>(random() % 40)
           : kind == 1 ? static_cast<std::uint32_t>(random() % 30'000)
           : kind == 2 ? ends[random() % std::size(ends)]
                       : static_cast<std::uint32_t>(random());
}

OwnedTable draw_table(int kind, std::size_t max_codes, std::mt19937_64& random) {
    std::normal_distribution<float> normal;
    OwnedTable table;
    for (std::size_t n = random() % (max_codes + 1); n > 0; --n) table.codes.push_back(draw_code(kind, random));
    std::ranges::sort(table.codes);
    const auto repeated = std::ranges::unique(table.codes);
    table.codes.erase(repeated.begin(), repeated.end());
    for (std::size_t i = 0; i < table.codes.size(); ++i) table.values.push_back(normal(random));
    table.other = normal(random);
    return table;
}

// n items of two equal dimensions and two code columns.
ItemIndex coded_index(std::size_t n, DType dtype, std::mt19937_64& random) {
    std::normal_distribution<float> normal;
    std::vector<std::int64_t> ids(n);
    std::vector<float> vectors(2 * n);
    std::vector<std::uint32_t> codes[2] = {std::vector<std::uint32_t>(n), std::vector<std::uint32_t>(n)};
    for (std::size_t i = 0; i < n; ++i) {
        ids[i] = static_cast<std::int64_t>(i);
        vectors[2 * i] = vectors[2 * i + 1] = normal(random);
        for (int c = 0; c < 2; ++c) codes[c][i] = draw_code(c, random);
    }
    const Column columns[] = {{"tag", DType::uint32, std::as_bytes(std::span(codes[0]))},
                              {"song_id", DType::uint32, std::as_bytes(std::span(codes[1]))}};
    ItemIndex::BuildOptions options;
    options.dtype = dtype;
    options.code_columns = columns;
    return std::move(ItemIndex::build(ids, {vectors.data(), n, 2, DType::float32}, options).value());
}

}  // namespace

TEST(code_tables_sum_the_values_of_each_code_in_order) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 2000; ++round) {
        const std::size_t n = random() % (kTableRows + 1);
        const std::size_t n_columns = 1 + random() % kMaxCodeColumns;
        std::vector<OwnedTable> tables;
        std::vector<CodeTable> views;
        for (std::size_t c = 0; c < n_columns; ++c) {
            const std::size_t max_codes = round % 100 == 0 ? 20'000 : 1 + random() % 60;
            tables.push_back(draw_table(static_cast<int>((round + c) % 4), max_codes, random));
        }
        views.reserve(n_columns);
        for (const OwnedTable& table : tables) views.push_back(table.view());
        const std::size_t width = std::bit_ceil(n_columns);
        std::vector<std::uint32_t> codes(n * width);
        std::vector<const std::uint32_t*> of_rows(n);
        std::vector<float> expected(n, 0.0f);
        for (std::size_t i = 0; i < n; ++i) {
            of_rows[i] = &codes[i * width];
            for (std::size_t c = 0; c < n_columns; ++c) {
                const std::vector<std::uint32_t>& known = tables[c].codes;
                const bool is_known = !known.empty() && random() % 2 == 0;
                codes[i * width + c] =
                    is_known ? known[random() % known.size()] : draw_code(static_cast<int>((round + c) % 4), random);
                expected[i] += tables[c].find(codes[i * width + c]);
            }
        }
        std::vector<float> sums(kTableRows);
        CodeTables(views).sum(of_rows.data(), of_rows.data(), n, sums.data());
        sums.resize(n);
        CHECK(sums == expected);
    }
}

TEST(code_table_of_many_codes_finds_each) {
    std::mt19937_64 random(2);
    OwnedTable table;
    for (std::uint32_t i = 0; i < 200'000; ++i) {
        table.codes.push_back(7 * i);
        table.values.push_back(static_cast<float>(i));
    }
    table.other = -1.0f;
    const CodeTable view = table.view();
    const CodeTables tables({&view, 1});
    int wrong = 0;
    for (std::uint32_t code = 0; code < 1'400'000; code += 1 + static_cast<std::uint32_t>(random() % 3)) {
        const std::uint32_t* row = &code;
        float sums[kTableRows];
        tables.sum(&row, nullptr, 1, sums);
        wrong += sums[0] != table.find(code);
    }
    CHECK(wrong == 0);
}

TEST(searches_with_tables_find_the_best_scores) {
    std::mt19937_64 random(3);
    constexpr std::size_t kItems = 1000;
    for (const DType dtype : {DType::float16, DType::float32, DType::int8}) {
        ItemIndex index = coded_index(kItems, dtype, random);
        CHECK(index.build_lists({10, 0}).ok());
        const OwnedTable tables[] = {draw_table(0, 40, random), draw_table(1, 200, random)};
        const CodeTable views[] = {tables[0].view(), tables[1].view()};
        const std::vector<float> values = {0.5f, 0.25f};
        const Query query(values, views);
        const IndexView view = index.pinned();
        std::vector<std::int32_t> rows(kItems);
        for (std::size_t row = 0; row < kItems; ++row) rows[row] = static_cast<std::int32_t>(row);
        std::vector<float> scores(kItems);
        CHECK(view.scores(query, Candidates::of_rows(rows), scores).ok());
        std::vector<float> best = scores;
        std::ranges::sort(best, std::greater<>());
        for (const std::size_t k : {std::size_t{10}, kItems}) {  // a heap, and a large k
            const std::vector<Query> queries(4, query);
            std::vector<SearchCount> counts(4);
            std::vector<float> found(4 * k);
            std::vector<std::int64_t> ids(4 * k);
            std::vector<std::int32_t> found_rows(4 * k);
            std::vector<std::int64_t> positions(4 * k);
            const Ranked out{found, ids, found_rows, positions};
            for (const std::size_t n_probe : {kEveryRow, std::size_t{10}}) {
                CHECK(view.search_all(queries, {}, out, counts, n_probe).ok());
                for (std::size_t q = 0; q < 4; ++q) CHECK(std::equal(&found[q * k], &found[q * k] + k, best.data()));
            }
        }
    }
}

TEST(tables_for_another_number_of_code_columns_are_refused) {
    std::mt19937_64 random(4);
    const ItemIndex index = coded_index(3, DType::float16, random);
    const CodeTable one[1] = {};
    const std::vector<float> values = {0.5f, 0.25f};
    const std::vector<std::int64_t> ids = {1};
    float score = 0.0f;
    const auto counted = index.pinned().scores(Query(values, one), Candidates::of_ids(ids), {&score, 1});
    CHECK(counted.status().message() == "query has 1 tables, the index has 2 code columns");
    const VersionQuery by_version[] = {{0, values, one}};
    const Query query{std::span<const VersionQuery>(by_version)};
    CHECK(!index.pinned().scores(query, Candidates::of_ids(ids), {&score, 1}).ok());
}
