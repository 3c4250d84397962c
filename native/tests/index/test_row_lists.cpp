// Searches by lists, against the exact search of the same index.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/xxh64.hpp"
#include "check.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

constexpr std::size_t kDim = 19;
constexpr std::int64_t kWorks = 900;

struct Found {
    std::vector<float> scores;
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> rows;
    std::size_t unknown = 0;
    bool operator==(const Found&) const = default;
};

std::vector<float> vectors_of(std::size_t n, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<float> values(n * kDim);
    for (float& x : values) x = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 1024.0f;
    return values;
}

MatrixView matrix(const std::vector<float>& vectors) {
    return {vectors.data(), vectors.size() / kDim, kDim, DType::float32};
}

ItemIndex make(DType dtype, std::int64_t model_version = 0) {
    std::vector<std::int64_t> ids(kWorks);
    std::iota(ids.begin(), ids.end(), 0);
    const std::vector<float> vectors = vectors_of(ids.size(), 1);
    ItemIndex::BuildOptions options;
    options.dtype = dtype;
    options.rescore = dtype == DType::int8;
    options.model_version = model_version;
    return ItemIndex::build(ids, matrix(vectors), options).value();
}

// Every kind of write but build_lists.
void write(ItemIndex& index, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<std::int64_t> ids(200);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i * 7 + random() % 7);
    const std::vector<float> vectors = vectors_of(ids.size(), seed);
    const std::vector<float> scales(50, 1.5f);
    CHECK(index.remove(std::span(ids).subspan(100)).ok());
    CHECK(index.upsert(ids, matrix(vectors), {}, index.pinned().model_version()).ok());
    CHECK(index.block(std::span(ids).subspan(20, 9)).ok());
    CHECK(index.adjust(std::span(ids).subspan(40, 50), scales, {}).ok());
    CHECK(index.remove(std::span(ids).subspan(150)).ok());
}

Found search(const IndexView& view, const Query& query, std::size_t k, std::size_t n_probe,
             std::span<const std::uint8_t> mask = {}) {
    Found found{std::vector<float>(k), std::vector<std::int64_t>(k), std::vector<std::int32_t>(k)};
    std::vector<std::int64_t> positions(k);
    SearchCount count;
    const Ranked out{found.scores, found.ids, found.rows, positions};
    CHECK(view.search_all({&query, 1}, mask, out, {&count, 1}, n_probe).ok());
    CHECK(std::ranges::equal(positions, found.rows));
    found.scores.resize(count.found), found.ids.resize(count.found), found.rows.resize(count.found);
    found.unknown = count.unknown;
    return found;
}

bool holds(const Found& found, std::int64_t id) {
    return std::ranges::find(found.ids, id) != found.ids.end();
}

}  // namespace

TEST(search_of_all_lists_equals_the_exact_search) {
    for (const DType dtype : {DType::float16, DType::float32, DType::int8}) {
        ItemIndex index = make(dtype);
        write(index, 2);
        for (std::uint32_t round = 0; round < 3; ++round) {
            CHECK(index.build_lists({30, round}).ok() && index.pinned().n_lists() == 30);
            for (std::uint32_t step = 0; step < 4; ++step) {
                const std::vector<float> query = vectors_of(1, 77 + step);
                std::vector<std::uint8_t> mask(index.pinned().n_rows());
                for (std::size_t row = 0; row < mask.size(); ++row) mask[row] = row % 3 != 0;
                for (const std::size_t k : {std::size_t{1}, std::size_t{40}, std::size_t{2000}}) {
                    CHECK(search(index.pinned(), query, k, 30) == search(index.pinned(), query, k, kEveryRow));
                    CHECK(search(index.pinned(), query, k, 99, mask) ==
                          search(index.pinned(), query, k, kEveryRow, mask));
                }
                write(index, 10 * round + step);
            }
        }
    }
}

TEST(search_of_some_lists_has_the_order_of_the_exact_search) {
    for (const DType dtype : {DType::float16, DType::float32, DType::int8}) {
        ItemIndex index = make(dtype);
        CHECK(index.build_lists({30, 5}).ok());
        write(index, 3);
        const std::vector<float> query = vectors_of(1, 4);
        const Found exact = search(index.pinned(), query, index.pinned().size(), kEveryRow);
        std::size_t fewer = exact.ids.size();
        for (const std::size_t n_probe : {20, 7, 1}) {
            const Found some = search(index.pinned(), query, index.pinned().size(), n_probe);
            CHECK(!some.ids.empty() && some.ids.size() < fewer);
            fewer = some.ids.size();
            Found kept;
            for (std::size_t i = 0; i < exact.ids.size(); ++i) {
                if (!holds(some, exact.ids[i])) continue;
                kept.scores.push_back(exact.scores[i]);
                kept.ids.push_back(exact.ids[i]);
                kept.rows.push_back(exact.rows[i]);
            }
            CHECK(some == kept);
            Found best = search(index.pinned(), query, 9, n_probe);
            if (dtype == DType::int8) continue;  // which of them are rescored depends on k
            kept.scores.resize(best.ids.size()), kept.ids.resize(best.ids.size()), kept.rows.resize(best.ids.size());
            CHECK(best == kept);
        }
    }
}

TEST(search_finds_a_new_item_by_its_own_vector) {
    ItemIndex index = make(DType::float32);
    CHECK(index.build_lists({40, 1}).ok());
    CHECK(index.remove(std::vector<std::int64_t>{3, 500, 501}).ok());  // so that rows are used again
    for (std::int64_t id = 480; id < 560; ++id) {
        std::vector<float> vector = vectors_of(1, static_cast<std::uint32_t>(id));
        for (float& x : vector) x *= 100;  // so that it is its own nearest work
        CHECK(index.upsert({&id, 1}, matrix(vector), {}, 0).ok());
        CHECK((search(index.pinned(), vector, 1, 1).ids == std::vector<std::int64_t>{id}));
    }
}

TEST(every_search_scores_vectors_of_another_model_version) {
    ItemIndex index = make(DType::float16, 3);
    CHECK(index.build_lists({30, 1}).ok());
    std::vector<std::int64_t> ids(60);
    std::iota(ids.begin(), ids.end(), 880);
    const std::vector<float> vectors = vectors_of(ids.size(), 8);
    CHECK(index.upsert(ids, matrix(vectors), {}, 4).ok());
    const std::vector<float> query = vectors_of(1, 9);
    const VersionQuery versions[] = {{3, query}, {4, query}};
    const Query both{std::span<const VersionQuery>(versions)};
    const Query later{std::span<const VersionQuery>(versions).subspan(1)};
    for (int round = 0; round < 2; ++round) {
        const Found some = search(index.pinned(), both, 2000, 1);
        CHECK(some.ids.size() < index.pinned().size() / 2);
        for (const std::int64_t id : ids) CHECK(holds(some, id));
        CHECK(search(index.pinned(), later, 2000, 1) == search(index.pinned(), later, 2000, kEveryRow));
        CHECK(search(index.pinned(), later, 2000, 1).unknown == 880);
        const std::string path = "test_row_lists-" + std::to_string(::getpid()) + ".karec";
        CHECK(index.pinned().save(path).ok());
        index = ItemIndex::open(path).value();
        (void)std::remove(path.c_str());
        CHECK(index.pinned().n_lists() == 30);
    }
    // Few items have the newest version: they are in lists now, and those of version 3 in none.
    CHECK(index.build_lists({10, 1}).ok());
    const Found some = search(index.pinned(), both, 2000, 1);
    CHECK(std::ranges::count_if(some.ids, [](std::int64_t id) { return id < 880; }) == 880);
    CHECK(some.ids.size() < index.pinned().size());
}

TEST(view_keeps_its_rows_and_lists_during_build_lists) {
    ItemIndex index = make(DType::float16);
    CHECK(index.build_lists({30, 1}).ok());
    write(index, 5);
    const std::vector<float> query = vectors_of(1, 6);
    const IndexView view = index.pinned();
    const Found exact = search(view, query, 2000, kEveryRow);
    const Found some = search(view, query, 2000, 3);
    for (std::uint32_t round = 0; round < 5; ++round) {
        CHECK(index.build_lists({10 + round, round}).ok());
        write(index, 20 + round);
        CHECK(index.remove(std::vector<std::int64_t>{1, 2, 3, 4, 5}).ok());
        CHECK(view.n_lists() == 30);
        CHECK(search(view, query, 2000, kEveryRow) == exact && search(view, query, 2000, 3) == some);
    }
    CHECK(index.pinned().n_lists() == 14);
}

TEST(build_lists_keeps_the_data_of_every_item) {
    ItemIndex index = make(DType::int8);
    write(index, 7);
    std::vector<std::int64_t> ids(1500);
    std::iota(ids.begin(), ids.end(), 0);
    const std::vector<float> query = vectors_of(1, 8);
    std::vector<float> before(ids.size());
    std::vector<float> after(ids.size());
    CHECK(index.pinned().scores(query, Candidates::of_ids(ids), before).ok());
    const std::uint64_t generation = index.pinned().generation();
    CHECK(index.build_lists({}).ok());
    CHECK(index.pinned().scores(query, Candidates::of_ids(ids), after).ok());
    CHECK(before == after && index.pinned().generation() == generation + 1 &&
          index.pinned().n_rows() == index.pinned().size());
    // Rows that were free before have items now, and are not reused.
    std::vector<std::int64_t> more(60);
    std::iota(more.begin(), more.end(), 5000);
    const std::vector<float> vectors = vectors_of(more.size(), 12);
    CHECK(index.upsert(more, matrix(vectors), {}, 0).ok() && index.pinned().n_rows() == index.pinned().size());
    CHECK(index.pinned().scores(query, Candidates::of_ids(ids), after).ok() && before == after);
}

TEST(build_lists_is_deterministic_for_items_and_seed) {
    const std::pair<DType, std::uint64_t> sums[] = {{DType::float16, 0x64ddc9d66bbf6063},
                                                    {DType::int8, 0x89456e99333aedfd}};
    for (const auto& [dtype, sum] : sums) {
        ItemIndex index = make(dtype);
        CHECK(index.build_lists({70, 11}).ok());
        write(index, 9);
        const std::string path = "test_row_lists-" + std::to_string(::getpid()) + ".karec";
        CHECK(index.pinned().save(path).ok());
        std::ifstream file(path, std::ios::binary);
        const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
        (void)std::remove(path.c_str());
        CHECK(xxh64(std::as_bytes(std::span(bytes))) == sum);
    }
}

TEST(build_lists_accepts_vectors_whose_squares_overflow) {
    ItemIndex::BuildOptions options;
    options.dtype = DType::float32;
    std::vector<std::int64_t> ids(50);
    std::iota(ids.begin(), ids.end(), 0);
    const std::vector<float> vectors(ids.size() * kDim, 3e38f);
    ItemIndex index = ItemIndex::build(ids, matrix(vectors), options).value();
    CHECK(index.build_lists({7, 0}).ok());
    const std::vector<float> query = vectors_of(1, 1);
    CHECK(search(index.pinned(), query, 50, 7) == search(index.pinned(), query, 50, kEveryRow));
}

TEST(index_refuses_too_many_lists_and_probes_without_lists) {
    ItemIndex index = make(DType::float16, 5);
    const std::vector<float> query = vectors_of(1, 1);
    const Query one(query);
    SearchCount count;
    CHECK(index.pinned().n_lists() == 0);
    const Status no_lists = index.pinned().search_all({&one, 1}, {}, {}, {&count, 1}, 3);
    CHECK(no_lists.code() == Code::invalid_argument && no_lists.message().find("build_lists") != std::string::npos);
    const Status too_many = index.build_lists({901, 0});
    CHECK(too_many.message() == "n_lists is 901, expected 1 to 900: the index has 900 items of model version 5");
    CHECK(index.pinned().generation() == 1 && index.build_lists({900, 0}).ok() && index.pinned().n_lists() == 900);
    ItemIndex empty = ItemIndex::build({}, {nullptr, 0, kDim, DType::float32}, {}).value();
    CHECK(empty.build_lists({}).message() == "the index has no items of model version 0 to put into lists");
}
