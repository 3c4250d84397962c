// An index while it is written and searched at once. Meant for ThreadSanitizer as well: -DKAREC_SANITIZE=thread.
#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

constexpr std::size_t kDim = 5;
constexpr std::int64_t kWorks = 400;

// Every vector of one write holds one number, so that a torn row, or rows of two generations, show in the scores.
std::vector<float> all(float value, std::size_t n) {
    return std::vector<float>(n * kDim, value);
}

ItemIndex make() {
    std::vector<std::int64_t> ids(kWorks);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
    const std::vector<float> vectors = all(1.0f, ids.size());
    ItemIndex::BuildOptions options;
    options.dtype = DType::float32;
    return ItemIndex::build(ids, {vectors.data(), ids.size(), kDim, DType::float32}, options).value();
}

const std::vector<float> kOnes(kDim, 1.0f);

}  // namespace

TEST(readers_see_whole_generations_while_writers_write) {
    ItemIndex index = make();
    std::vector<std::int64_t> group(100);  // always written together, in one call
    for (std::size_t i = 0; i < group.size(); ++i) group[i] = static_cast<std::int64_t>(i);
    std::atomic<bool> stop{false};
    std::atomic<int> torn{0};
    std::atomic<std::uint64_t> n_searches{0};
    const auto read = [&](unsigned seed) {
        std::mt19937 random(seed);
        std::vector<float> scores(group.size());
        std::vector<std::int64_t> ids(8);
        std::vector<std::int32_t> rows(8);
        std::vector<std::int64_t> positions(8);
        std::uint64_t last = 0;
        while (!stop.load(std::memory_order_relaxed)) {
            const auto seen = index.scores(kOnes, Candidates::of_ids(group), scores);
            bool good = seen.ok() && seen->generation >= last;
            last = seen->generation;
            for (const float score : scores) good = good && score == scores[0];
            std::vector<float> best(8);
            const Query query(kOnes);
            SearchCount count;
            good = good && index.search_all({&query, 1}, {}, {best, ids, rows, positions}, {&count, 1}).ok();
            good =
                good && index.gather(rows, scores.size() >= 8 * kDim ? std::span(scores).first(8 * kDim) : scores).ok();
            torn += !good;
            n_searches.fetch_add(1, std::memory_order_relaxed);
        }
    };
    std::vector<std::thread> threads;
    for (unsigned seed = 0; seed < 3; ++seed) threads.emplace_back(read, seed);
    threads.emplace_back([&] {
        std::mt19937 random(9);
        while (!stop.load(std::memory_order_relaxed)) {
            const auto id = static_cast<std::int64_t>(200 + random() % 200);
            const std::vector<std::int64_t> one = {id};
            const std::vector<float> vector = all(2.0f, 1);
            const std::vector<float> offset = {static_cast<float>(random() % 3)};
            bool good = index.remove(one).ok() && index.adjust(one, {}, offset).ok();
            good = good && index.upsert(one, {vector.data(), 1, kDim, DType::float32}, {}, 0).ok();
            good = good && index.block(one).ok() && index.unblock(one).ok();
            torn += !good;
        }
    });
    for (int step = 0; step < 300; ++step) {
        const std::vector<float> vectors = all(static_cast<float>(step % 50), group.size());
        CHECK(index.upsert(group, {vectors.data(), group.size(), kDim, DType::float32}, {}, 0).ok());
        const std::vector<float> scales(group.size(), static_cast<float>(1 + step % 2));
        CHECK(index.adjust(group, scales, {}).ok());
        CHECK((step % 3 == 0 ? index.block(group) : index.unblock(group)).ok());
    }
    while (n_searches < 30) std::this_thread::yield();
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(torn == 0);
    // With no reader left, rows of replaced works are used again.
    const std::vector<float> vectors = all(1.0f, group.size());
    const MatrixView view{vectors.data(), group.size(), kDim, DType::float32};
    CHECK(index.upsert(group, view, {}, 0).ok());
    const std::size_t n_rows = index.n_rows();
    for (int step = 0; step < 5; ++step) CHECK(index.upsert(group, view, {}, 0).ok());
    CHECK(index.n_rows() == n_rows);
}

TEST(an_index_grows_from_nothing_and_its_rows_are_used_again) {
    ItemIndex::BuildOptions options;
    ItemIndex index = ItemIndex::build({}, {nullptr, 0, kDim, DType::float32}, options).value();
    constexpr std::size_t kBatch = 997;
    for (std::size_t batch = 0; batch < 60; ++batch) {
        std::vector<std::int64_t> ids(kBatch);
        std::vector<float> vectors(kBatch * kDim);
        for (std::size_t i = 0; i < kBatch; ++i) {
            ids[i] = static_cast<std::int64_t>((batch % 40) * kBatch + i);
            std::fill_n(&vectors[i * kDim], kDim, static_cast<float>(i));
        }
        CHECK(index.upsert(ids, {vectors.data(), kBatch, kDim, DType::float32}, {}, 3).ok());
        std::vector<float> scores(kBatch);
        CHECK(index.scores(kOnes, Candidates::of_ids(ids), scores).ok());
        for (std::size_t i = 0; i < kBatch; ++i) CHECK(scores[i] == static_cast<float>(i * kDim));
    }
    CHECK(index.size() == 40 * kBatch && index.n_rows() <= 42 * kBatch && index.generation() == 61);
    CHECK(index.model_versions().value() == std::vector<std::int64_t>{3});
    const auto table = index.table().value();
    CHECK(static_cast<std::size_t>(std::ranges::count(table->present, 1)) == index.size());
}
