// Results as hashes that every instruction set of every processor reproduces. Inputs come from integers and exact
// conversions, since distributions and functions of C and C++ libraries differ. A failing test prints the new line for
// kGolden: change it only if the results were meant to change.
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fixed_math.hpp"
#include "base/xxh64.hpp"
#include "check.hpp"
#include "diversity/vector_map.hpp"
#include "features/golden_bundle.hpp"
#include "features/item_encoder.hpp"
#include "karec/dpp.hpp"
#include "karec/freshness.hpp"
#include "karec/item_index.hpp"
#include "karec/mmr_ssd.hpp"
#include "karec/user_encoder.hpp"
#include "stages/fusion.hpp"
#include "sums/row_sums.hpp"
#include "trees/tree_ensemble.hpp"

using namespace karec;

namespace {

struct GoldenHash {
    std::string_view subject;
    std::uint64_t hash;
};

constexpr GoldenHash kGolden[] = {
    {"scores", 0xf53d6c0430cc319f},     {"search", 0xb27c43a811f0186a},     {"lists", 0x2cd150bf72c603d7},
    {"dpp", 0x3685c010c7861235},        {"dpp_kernel", 0x2c41f5b0e456e204}, {"mmr_ssd", 0xd518068fc304d4dd},
    {"trees", 0x9da226736daf7e42},      {"freshness", 0x6c2cc6d809aec5fe},  {"whitened", 0x443e85e9337e9c3f},
    {"fixed_math", 0x7614599fb3015c76}, {"fusion", 0x392af49a67930bae},     {"user_encoder", 0xa2ca9a704a116ef1},
    {"tables", 0xd5dfe40b182fa3ae},     {"row_sums", 0x6c894653b7772c99},
};

// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next() {
        std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        return z ^ z >> 31;
    }
    std::int64_t below(std::uint64_t n) { return static_cast<std::int64_t>(next() % n); }

    // Sums of two uniform numbers in (−1, 1), every eighth scaled to 2^-20: subnormal as float16.
    std::vector<float> floats(std::size_t n) {
        std::vector<float> values(n);
        for (float& x : values) {
            const std::int64_t sum = below(1u << 24) + below(1u << 24) - (1 << 24);
            x = static_cast<float>(sum) * (next() % 8 == 0 ? 0x1p-44f : 0x1p-24f);
        }
        return values;
    }
    std::vector<std::int64_t> codes(std::size_t n, std::uint64_t n_codes) {
        std::vector<std::int64_t> values(n);
        for (std::int64_t& code : values) code = below(n_codes);
        return values;
    }

  private:
    std::uint64_t state_;
};

// Hashes results as they are stored and compares the hash with that of its subject.
class ResultHash {
  public:
    explicit ResultHash(std::string_view subject) : subject_(subject) {}

    template <class T>
    void add(const std::vector<T>& values) {
        hash_.update(std::as_bytes(std::span(values)));
    }
    template <class T>
    void add(T value) {
        add(std::vector<T>{value});
    }
    bool is_golden() const {
        for (const GoldenHash& golden : kGolden) {
            if (golden.subject == subject_ && golden.hash == hash_.digest()) return true;
        }
        std::printf("    {\"%s\", 0x%016" PRIx64 "},\n", std::string(subject_).c_str(), hash_.digest());
        return false;
    }

  private:
    std::string_view subject_;
    Xxh64 hash_;
};

constexpr DType kDTypes[] = {DType::float16, DType::float32, DType::int8};

struct Items {
    std::size_t n;
    std::size_t dim;
    std::vector<float> vectors;
    std::vector<std::int64_t> ids = std::vector<std::int64_t>(n);

    Items(std::size_t n_items, std::size_t n_dims, Random& random)
        : n(n_items), dim(n_dims), vectors(random.floats(n * dim)) {
        for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<std::int64_t>(7 * i + 3);
    }
    MatrixView view() const { return {vectors.data(), n, dim, DType::float32}; }
    ItemIndex index(DType dtype) const {
        ItemIndex::BuildOptions options;
        options.dtype = dtype;
        return ItemIndex::build(ids, view(), options).value();
    }
};

// The k best rows of each of n_queries queries.
struct Found {
    std::vector<float> scores;
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> rows;
    std::vector<std::int64_t> positions;
    std::vector<SearchCount> counts;

    Found(std::size_t n_queries, std::size_t k)
        : scores(n_queries * k), ids(n_queries * k), rows(n_queries * k), positions(n_queries * k), counts(n_queries) {}
    Ranked ranked() { return {scores, ids, rows, positions}; }
    void add_to(ResultHash& hash) const {
        hash.add(scores);
        hash.add(ids);
        hash.add(positions);
    }
};

void add_search(const ItemIndex& index, std::size_t n_queries, std::size_t k, std::size_t n_probe, Random& random,
                ResultHash& hash) {
    std::vector<std::vector<float>> values;
    values.reserve(n_queries);
    for (std::size_t q = 0; q < n_queries; ++q) values.push_back(random.floats(index.pinned().dim()));
    const std::vector<Query> queries(values.begin(), values.end());
    Found found(n_queries, k);
    CHECK(index.pinned().search_all(queries, {}, found.ranked(), found.counts, n_probe).ok());
    found.add_to(hash);
}

DppOptions dpp_options() {
    DppOptions options;
    options.alpha = 1.0;
    return options;
}

void add_dpp(const ItemIndex& index, const std::vector<float>& relevance, const DppOptions& options, std::size_t k,
             ResultHash& hash) {
    std::vector<std::int32_t> rows(index.pinned().n_rows());
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i);
    std::vector<std::int64_t> indices(k);
    std::vector<double> gains(k);
    const auto count = index.pinned().dpp_select(rows, relevance, options, indices, gains);
    CHECK(count.ok());
    hash.add(indices);
    hash.add(gains);
    hash.add(count->log_det);
}

}  // namespace

TEST(scores_have_the_golden_bits) {
    ResultHash hash("scores");
    Random random(1);
    for (const std::size_t dim : {1u, 7u, 16u, 33u, 64u, 100u, 256u}) {
        const Items items(131, dim, random);
        for (const DType dtype : kDTypes) {
            const ItemIndex index = items.index(dtype);
            std::vector<float> scores(items.n);
            CHECK(index.pinned().scores(random.floats(dim), Candidates::of_ids(items.ids), scores).ok());
            hash.add(scores);
            std::vector<std::int32_t> rows(items.n);
            CHECK(index.pinned().lookup(items.ids, rows).ok());
            std::vector<float> vectors(items.n * dim);
            CHECK(index.pinned().gather(rows, vectors).ok());
            hash.add(vectors);
        }
    }
    CHECK(hash.is_golden());
}

TEST(search_has_the_golden_bits_for_one_and_many_queries) {
    ResultHash hash("search");
    Random random(2);
    for (const std::size_t dim : {16u, 50u, 96u}) {
        const Items items(5000, dim, random);
        for (const DType dtype : kDTypes) {
            ItemIndex index = items.index(dtype);
            const std::vector<float> offsets = random.floats(1000);
            CHECK(index.adjust(std::span(items.ids).first(1000), {}, offsets).ok());
            for (const std::size_t n_queries : {1u, 3u, 40u}) {
                add_search(index, n_queries, 30, kEveryRow, random, hash);
            }
            add_search(index, 1, 4000, kEveryRow, random, hash);
        }
    }
    CHECK(hash.is_golden());
}

TEST(lists_have_the_golden_bits) {
    ResultHash hash("lists");
    Random random(3);
    const Items items(4000, 24, random);
    for (const DType dtype : kDTypes) {
        ItemIndex index = items.index(dtype);
        CHECK(index.build_lists({.n_lists = 40, .seed = 5}).ok());
        for (const std::size_t n_queries : {1u, 20u}) add_search(index, n_queries, 50, 4, random, hash);
    }
    CHECK(hash.is_golden());
}

TEST(scores_with_tables_have_the_golden_bits) {
    ResultHash hash("tables");
    Random random(12);
    const Items items(700, 40, random);
    std::vector<std::uint32_t> codes[2] = {std::vector<std::uint32_t>(items.n), std::vector<std::uint32_t>(items.n)};
    std::vector<std::uint32_t> known[2];
    std::vector<float> values[2];
    CodeTable tables[2];
    for (std::size_t c = 0; c < 2; ++c) {  // an array, and a hash table
        const std::uint32_t step = c == 0 ? 1 : 1000;
        for (std::uint32_t& code : codes[c]) code = step * static_cast<std::uint32_t>(random.below(30));
        for (std::uint32_t i = 0; i < 20; ++i) known[c].push_back(step * i);
        values[c] = random.floats(known[c].size());
        tables[c] = {known[c], values[c], 0.1f};
    }
    const Column columns[] = {{"tag", DType::uint32, std::as_bytes(std::span(codes[0]))},
                              {"song", DType::uint32, std::as_bytes(std::span(codes[1]))}};
    for (const DType dtype : kDTypes) {
        ItemIndex::BuildOptions options;
        options.dtype = dtype;
        options.code_columns = columns;
        const ItemIndex index = ItemIndex::build(items.ids, items.view(), options).value();
        const std::vector<float> user = random.floats(items.dim);
        const Query query(user, tables);
        std::vector<float> scores(items.n);
        CHECK(index.pinned().scores(query, Candidates::of_ids(items.ids), scores).ok());
        hash.add(scores);
        Found found(1, 100);
        CHECK(index.pinned().search_all({&query, 1}, {}, found.ranked(), found.counts).ok());
        found.add_to(hash);
    }
    CHECK(hash.is_golden());
}

TEST(dpp_has_the_golden_picks_and_gains) {
    ResultHash hash("dpp");
    Random random(4);
    for (const std::size_t dim : {12u, 64u, 100u}) {
        const Items items(1500, dim, random);
        const std::vector<float> relevance = random.floats(items.n);
        const Items shown(9, dim, random);
        const std::vector<std::int64_t> facets = random.codes(2 * items.n, 40);
        const double facet_weights[] = {0.25, 0.125};
        for (const DType dtype : kDTypes) {
            const ItemIndex index = items.index(dtype);
            DppOptions options = dpp_options();
            add_dpp(index, relevance, options, 150, hash);
            options.shown = shown.view();
            add_dpp(index, relevance, options, 40, hash);
            options.window = 8;
            add_dpp(index, relevance, options, 40, hash);
            options = dpp_options();
            options.facets = facets;
            options.facet_weights = facet_weights;
            add_dpp(index, relevance, options, 60, hash);
        }
    }
    CHECK(hash.is_golden());
}

TEST(dpp_of_a_kernel_has_the_golden_picks_and_gains) {
    ResultHash hash("dpp_kernel");
    Random random(5);
    constexpr std::size_t kN = 60;
    const std::vector<float> factors = random.floats(kN * 80);
    std::vector<double> kernel(kN * kN);
    for (std::size_t i = 0; i < kN; ++i) {
        for (std::size_t j = 0; j < kN; ++j) {
            for (std::size_t d = 0; d < 80; ++d) {
                kernel[i * kN + j] += static_cast<double>(factors[i * 80 + d]) * factors[j * 80 + d];
            }
        }
    }
    std::vector<std::int64_t> indices(30);
    std::vector<double> gains(30);
    CHECK(dpp_select_kernel(kernel, kN, std::nullopt, indices, gains).ok());
    hash.add(indices);
    hash.add(gains);
    CHECK(dpp_select_kernel(kernel, kN, 6, indices, gains).ok());
    hash.add(indices);
    hash.add(gains);
    CHECK(hash.is_golden());
}

TEST(mmr_and_ssd_have_the_golden_picks_and_scores) {
    ResultHash hash("mmr_ssd");
    Random random(6);
    const Items items(600, 40, random);
    const Items shown(5, 40, random);
    const std::vector<float> relevance = random.floats(items.n);
    const std::vector<std::int64_t> facets = random.codes(items.n, 30);
    const double facet_weights[] = {0.25};
    MmrSsdOptions plain;
    MmrSsdOptions rich;
    rich.shown = shown.view();
    rich.window = 5;
    rich.facets = facets;
    rich.facet_weights = facet_weights;
    std::vector<std::int64_t> indices(60);
    std::vector<double> scores(60);
    for (const MmrSsdOptions& options : {plain, rich}) {
        for (const auto select : {mmr_select, ssd_select}) {
            CHECK(select(items.view(), relevance, options, indices, scores).ok());
            hash.add(indices);
            hash.add(scores);
        }
    }
    CHECK(hash.is_golden());
}

TEST(trees_have_the_golden_sums) {
    ResultHash hash("trees");
    Random random(7);
    constexpr std::size_t kFeatures = 11;
    constexpr std::size_t kTrees = 20;
    constexpr std::int64_t kNodes = 63;  // 31 splits, then 32 leaves
    std::vector<std::int64_t> features;
    std::vector<std::int64_t> children;
    for (std::size_t tree = 0; tree < kTrees; ++tree) {
        for (std::int64_t node = 0; node < kNodes; ++node) {
            const bool is_split = node < kNodes / 2;
            features.push_back(is_split ? random.below(kFeatures) : -1);
            children.push_back(is_split ? 2 * node + 1 : 0);
            children.push_back(is_split ? 2 * node + 2 : 0);
        }
    }
    const std::vector<std::int64_t> sizes(kTrees, kNodes);
    const std::vector<std::int64_t> outputs(kTrees, 0);
    const std::vector<float> values = random.floats(features.size());
    const std::vector<std::uint8_t> missing_first(features.size(), 1);
    const auto trees =
        TreeEnsemble::from_nodes({sizes, outputs, features, values, children, missing_first}, kFeatures, 1);
    CHECK(trees.ok());
    std::vector<float> sums(333);
    CHECK(trees->scores(random.floats(sums.size() * kFeatures), sums).ok());
    hash.add(sums);
    CHECK(hash.is_golden());
}

TEST(row_sums_have_the_golden_bits) {
    ResultHash hash("row_sums");
    Random random(18);
    constexpr std::size_t kWidth = 581;
    constexpr std::size_t kItems = 50;
    const std::vector<std::int64_t> code_columns{1, 0};
    const std::vector<std::int64_t> code_sizes{40, 7};
    const std::vector<std::int64_t> knot_counts{1, 5, 20};
    std::vector<double> knots(26);
    for (std::size_t i = 0; i < knots.size(); ++i) {
        knots[i] = static_cast<double>(i) * 0.0625 - 0.5 + static_cast<double>(random.below(99)) * 1e-4;
    }
    const std::vector<float> rows = random.floats((1 + 47 + 26 + 3) * kWidth);
    const auto sums = RowSums::from_table(
        {std::as_bytes(std::span(rows)), code_columns, code_sizes, knot_counts, knots}, 2, {{"a", 500}, {"b", 81}});
    CHECK(sums.ok());
    std::vector<float> out(kItems * kWidth);
    const auto codes = random.codes(2 * kItems, 45);
    sums->sum(codes, random.floats(3 * kItems), kItems, out);
    hash.add(out);
    CHECK(hash.is_golden());
}

TEST(freshness_and_standardised_scores_have_the_golden_bits) {
    ResultHash hash("freshness");
    Random random(8);
    const std::vector<float> scores = random.floats(500);
    const std::vector<std::int64_t> upload_ms = random.codes(scores.size(), 1'000'000'000);
    std::vector<float> out(scores.size());
    const Column uploads{"upload_ms", DType::int64, std::as_bytes(std::span(upload_ms))};
    CHECK(freshness(scores, uploads, 900'000'000, 0.5, 24.0, out).ok());
    hash.add(out);
    CHECK(standardise(scores, out).ok());
    hash.add(out);
    CHECK(hash.is_golden());
}

TEST(whitened_vectors_have_the_golden_bits) {
    ResultHash hash("whitened");
    Random random(9);
    constexpr std::size_t kDim = 20;
    std::vector<double> axes;
    for (const float x : random.floats(kDim * kDim)) axes.push_back(x);
    std::vector<double> variances;
    variances.reserve(kDim);
    for (std::size_t d = 0; d < kDim; ++d) variances.push_back(static_cast<double>(1 + random.below(1000)) * 0x1p-10);
    for (const double exponent : {0.3, 0.5, 1.0}) {
        const auto map = VectorMap::make({}, axes, variances, exponent);
        CHECK(map.ok());
        std::vector<float> rows = random.floats(7 * kDim);
        map->apply(rows);
        hash.add(rows);
    }
    CHECK(hash.is_golden());
}

TEST(fixed_exp_and_log_have_the_golden_bits) {
    ResultHash hash("fixed_math");
    Random random(10);
    for (std::size_t i = 0; i < 10'000; ++i) {
        const double x = static_cast<double>(random.below(1u << 30)) * 0x1p-20;
        hash.add(fixed_exp(-x));
        hash.add(fixed_log(x));
    }
    CHECK(hash.is_golden());
}

TEST(fused_logits_have_the_golden_bits) {
    ResultHash hash("fusion");
    Random random(11);
    std::vector<double> logits;
    for (const float x : random.floats(900)) logits.push_back(8.0 * x);
    const std::vector<double> weights = {0.5, 0.3, 0.2};
    std::vector<float> out(300);
    for (const FusionKind kind : {FusionKind::sum, FusionKind::product}) {
        fuse_logits(logits, weights, kind, out);
        hash.add(out);
    }
    CHECK(hash.is_golden());
}

TEST(user_encoder_has_the_golden_codes_and_numbers) {
    ResultHash hash("user_encoder");
    const BundleFolder folder;
    const std::string path = folder.root() + "/bundle";
    write_golden_bundle(path);
    const auto encoder = UserEncoder::open(Bundle::open(path).value(), true);
    CHECK(encoder.ok());
    const std::vector<std::int64_t> history = {70, 999, -5, 10};
    const std::vector<std::string_view> names = {"count_exposed", "count_click", "count_long_view", "count_like",
                                                 "count_follow"};
    const std::vector<float> counters = {97.0f, 41.0f, 17.0f, 5.0f, 1.0f};
    for (const std::int64_t user_id : {5, 12345}) {
        UserState user;
        user.user_id = user_id;
        user.history = history;
        user.counter_names = names;
        user.counters = user.scene_counters = counters;
        EncodedUser encoded;
        encoded.codes.resize(encoder->n_codes());
        encoded.numbers.resize(encoder->n_numbers());
        CHECK(encoder->encode(user, "home", 1'700'000'000'000, encoded.codes, encoded.numbers).ok());
        hash.add(std::vector(encoded.codes.begin(), encoded.codes.end()));
        hash.add(std::vector(encoded.numbers.begin(), encoded.numbers.end()));
        EncodedItems items;
        CHECK(ItemEncoder(encoder.value()).encode(history, 1'700'000'000'000, encoded, false, items).ok());
        hash.add(std::vector(items.crosses.begin(), items.crosses.end()));
    }
    CHECK(hash.is_golden());
}
