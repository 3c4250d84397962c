// Bounded scans of many queries equal exact scans of each query, on rows that are hard to bound. Run once for each
// instruction set.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/half.hpp"
#include "check.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

constexpr std::size_t kRows = 1500;

struct World {
    const char* name;
    bool float16_too;  // its values are finite as float16
    // Value d of row (or query) i; `normal` draws from a normal distribution.
    float (*value)(std::size_t i, std::size_t d, float normal);
};

const World kWorlds[] = {
    {"normal", true, [](std::size_t, std::size_t, float x) { return x; }},
    {"norms from 2^-12 to 2^12", true,
     [](std::size_t i, std::size_t, float x) { return std::ldexp(x, static_cast<int>(i * 7 % 25) - 12); }},
    {"norms from 2^-100 to 2^60", false,
     [](std::size_t i, std::size_t, float x) { return std::ldexp(x, static_cast<int>(i * 37 % 161) - 100); }},
    {"overflow", false, [](std::size_t i, std::size_t, float x) { return i % 3 == 0 ? std::copysign(3e38f, x) : x; }},
    {"cancelling sums", true,
     [](std::size_t i, std::size_t d, float x) {
         return (d % 2 == 0 ? 1000.0f : -1000.0f) * static_cast<float>(1 + i % 5) + (d < 2 ? x : 0.0f);
     }},
    {"few values", true,
     [](std::size_t i, std::size_t d, float) { return static_cast<float>((i * 5 + d * 3) % 3) - 1.0f; }},
    {"zeros", true, [](std::size_t, std::size_t, float) { return 0.0f; }},
    {"one unit apart", true,
     [](std::size_t i, std::size_t d, float) { return 1.0f + static_cast<float>((i + d) % 4) * 0x1p-10f; }},
    {"subnormal", true, [](std::size_t i, std::size_t, float x) { return x * (i % 2 == 0 ? 1e-7f : 1e-40f); }},
    {"one row everywhere", true,
     [](std::size_t, std::size_t d, float) { return 0.37f * static_cast<float>(d % 7) - 1.0f; }},
    {"one row everywhere, but in some tiles", true,
     [](std::size_t i, std::size_t d, float x) {
         return i / 64 % 9 < 7 ? 0.37f * static_cast<float>(d % 7) - 1.0f : x;
     }},
    {"descending", true,
     [](std::size_t i, std::size_t d, float) { return -static_cast<float>(i) / 1024.0f - (d == 0 ? 1.0f : 0.0f); }},
    {"ascending", true,
     [](std::size_t i, std::size_t d, float) { return static_cast<float>(i) / 1024.0f + (d == 0 ? 1.0f : 0.0f); }},
};

std::vector<float> values_of(const World& world, std::size_t n, std::size_t dim, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(n * dim);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t d = 0; d < dim; ++d) values[i * dim + d] = world.value(i, d, normal(random));
    }
    return values;
}

struct Found {
    explicit Found(std::size_t n, std::size_t k = 0)
        : scores(n * k), ids(n * k), rows(n * k), positions(n * k), counts(n) {}
    Ranked ranked() { return {scores, ids, rows, positions}; }
    std::vector<float> scores;
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> rows;
    std::vector<std::int64_t> positions;
    std::vector<SearchCount> counts;
};

void check_queries(const ItemIndex& index, const std::vector<Query>& queries, std::size_t k,
                   std::span<const std::uint8_t> mask, const std::string& case_name) {
    Found together(queries.size(), k);
    CHECK(index.pinned().search_all(queries, mask, together.ranked(), together.counts).ok());
    for (std::size_t q = k % 9; q < queries.size(); q += 9) {  // another choice for each k
        Found alone(1, k);
        CHECK(index.pinned().search_all({&queries[q], 1}, mask, alone.ranked(), alone.counts).ok());
        const auto same = [&](const auto& one, const auto& all) {
            return std::equal(one.begin(), one.end(), all.begin() + static_cast<std::ptrdiff_t>(q * k));
        };
        const bool found =
            together.counts[q].found == alone.counts[0].found && together.counts[q].unknown == alone.counts[0].unknown;
        if (found && same(alone.scores, together.scores) && same(alone.rows, together.rows) &&
            same(alone.ids, together.ids))
            continue;
        std::fprintf(stderr, "query %zu of %zu, k = %zu: %s\n", q, queries.size(), k, case_name.c_str());
        CHECK(false);
        return;
    }
}

// Scales and offsets of both signs, some zero, some larger than all others.
void adjust(ItemIndex& index, std::uint64_t seed, float reach) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    std::vector<std::int64_t> ids(kRows);
    std::iota(ids.begin(), ids.end(), 0);
    std::vector<float> scales(kRows);
    std::vector<float> offsets(kRows);
    for (std::size_t i = 0; i < kRows; ++i) {
        scales[i] = i % 11 == 0 ? 0.0f : normal(random) * (i % 64 == 7 ? reach : 1.0f);
        offsets[i] = i % 13 == 0 ? 0.0f : normal(random) * (i % 64 == 9 ? reach : 1.0f);
    }
    CHECK(index.adjust(ids, scales, offsets).ok());
}

void hard_rows(DType dtype, std::size_t dim) {
    for (const World& world : kWorlds) {
        if (dtype == DType::float16 && !world.float16_too) continue;
        std::vector<std::int64_t> ids(kRows);
        std::iota(ids.begin(), ids.end(), 0);
        const std::vector<float> vectors = values_of(world, kRows, dim, dim);
        ItemIndex::BuildOptions options;
        options.dtype = dtype;
        ItemIndex index =
            ItemIndex::build(ids, MatrixView{vectors.data(), kRows, dim, DType::float32}, options).value();
        const std::vector<float> values = values_of(world, 37, dim, dim + 1);
        std::vector<Query> queries;
        queries.reserve(37);
        for (std::size_t q = 0; q < 37; ++q) queries.emplace_back(std::span(values).subspan(q * dim, dim));
        std::vector<float> normal = values_of(kWorlds[0], 1, dim, 9);
        queries[5] = Query(normal);
        const std::vector<float> zeros(dim);
        queries[6] = Query(zeros);
        std::vector<std::uint8_t> mask(kRows);
        for (std::size_t i = 0; i < kRows; ++i) mask[i] = i % 5 != 0 && i / 64 != 4;
        const std::string name = std::string(world.name) + ", " + std::to_string(dim) + " dimensions";
        const auto all_k = [&](const std::string& case_name) {
            for (const std::size_t k : {1u, 70u, 700u, 1501u}) check_queries(index, queries, k, {}, name + case_name);
            check_queries(index, queries, 20, mask, name + case_name + ", masked");
            check_queries(index, {queries.begin(), queries.begin() + 3}, 20, {}, name + case_name);
        };
        all_k("");
        adjust(index, 1, 1.0f);
        all_k(", adjusted");
        CHECK(index.block(std::span(ids).subspan(130, 400)).ok());
        CHECK(index.remove(std::span(ids).subspan(600, 10)).ok());
        adjust(index, 2, 1e30f);
        all_k(", adjusted widely, blocked");
        CHECK(index.calibrate(0, 3.5f, -0.25f).ok());
        all_k(", calibrated");
    }
}

}  // namespace

TEST(bounded_scan_equals_exact_scans_of_float32_rows) {
    for (const std::size_t dim : {1u, 19u, 64u}) hard_rows(DType::float32, dim);
}

TEST(bounded_scan_equals_exact_scans_of_float16_rows) {
    for (const std::size_t dim : {3u, 64u, 130u}) hard_rows(DType::float16, dim);
}

TEST(bounded_scan_equals_exact_scans_for_several_model_versions) {
    constexpr std::size_t kDim = 33;
    std::vector<std::int64_t> ids(kRows);
    std::iota(ids.begin(), ids.end(), 0);
    const std::vector<float> vectors = values_of(kWorlds[0], kRows, kDim, 1);
    ItemIndex index =
        ItemIndex::build(ids, MatrixView{vectors.data(), kRows, kDim, DType::float32}, ItemIndex::BuildOptions{})
            .value();
    for (std::int64_t version = 1; version <= 3; ++version) {
        std::vector<std::int64_t> some;
        for (std::int64_t i = version; i < static_cast<std::int64_t>(kRows); i += 5) some.push_back(i);
        const std::vector<float> newer = values_of(kWorlds[1], some.size(), kDim, static_cast<std::uint64_t>(version));
        CHECK(index.upsert(some, MatrixView{newer.data(), some.size(), kDim, DType::float32}, {}, version).ok());
    }
    const std::vector<float> values = values_of(kWorlds[0], 60, kDim, 8);
    const auto vector = [&](std::size_t i) { return std::span(values).subspan(i % 60 * kDim, kDim); };
    std::vector<std::vector<VersionQuery>> by_version;
    for (std::size_t q = 0; q < 30; ++q) {
        by_version.emplace_back();
        for (std::int64_t version = 0; version < 4; ++version) {
            if (version == static_cast<std::int64_t>(q % 4)) continue;  // its rows are unknown to this query
            by_version.back().push_back({version, vector(q * 4 + static_cast<std::size_t>(version))});
        }
    }
    std::vector<Query> queries;
    queries.reserve(by_version.size());
    for (const auto& each : by_version) queries.emplace_back(std::span<const VersionQuery>(each));
    for (const std::size_t k : {1u, 50u, 1600u}) check_queries(index, queries, k, {}, "versions");
    CHECK(index.calibrate(2, 0.5f, 1.0f).ok());
    adjust(index, 3, 1.0f);
    for (const std::size_t k : {1u, 50u, 1600u}) check_queries(index, queries, k, {}, "versions, calibrated");
}

// A float32 near the largest is infinite in bfloat16; with short rows its products are far from overflow.
TEST(bounded_scan_equals_exact_scans_near_the_largest_float) {
    constexpr std::size_t kDim = 16;
    std::vector<std::int64_t> ids(kRows);
    std::iota(ids.begin(), ids.end(), 0);
    std::vector<float> vectors = values_of(kWorlds[0], kRows, kDim, 4);
    for (std::size_t i = 0; i < vectors.size(); ++i) vectors[i] *= i % 2 == 0 ? 1e-4f : 0.05f;
    std::vector<float> values(12 * kDim);
    for (std::size_t q = 0; q < 12; ++q) {
        values[q * kDim + q / 2 * 2] = q % 2 == 0 ? 3.4e38f : -3.4e38f;  // it decides little
        values[q * kDim + q / 2 * 2 + 1] = 1e38f;
    }
    std::vector<Query> queries;
    queries.reserve(12);
    for (std::size_t q = 0; q < 12; ++q) queries.emplace_back(std::span(values).subspan(q * kDim, kDim));
    for (const DType dtype : {DType::float32, DType::float16}) {
        ItemIndex::BuildOptions options;
        options.dtype = dtype;
        const ItemIndex index =
            ItemIndex::build(ids, MatrixView{vectors.data(), kRows, kDim, DType::float32}, options).value();
        for (const std::size_t k : {1u, 20u, 700u}) check_queries(index, queries, k, {}, "huge queries");
    }
}

TEST(index_refuses_queries_and_rows_that_are_not_finite) {
    const std::vector<std::int64_t> ids = {1};
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> row = {1.0f};
    CHECK(!ItemIndex::build(ids, MatrixView{&nan, 1, 1, DType::float32}, ItemIndex::BuildOptions{}).ok());
    ItemIndex index =
        ItemIndex::build(ids, MatrixView{row.data(), 1, 1, DType::float32}, ItemIndex::BuildOptions{}).value();
    const std::vector<Query> queries = {Query(row), Query(row), Query(std::span(&nan, 1))};
    Found found(3, 1);
    CHECK(!index.pinned().search_all(queries, {}, found.ranked(), found.counts).ok());
    CHECK(!index.adjust(ids, std::span(&nan, 1), {}).ok());
}
