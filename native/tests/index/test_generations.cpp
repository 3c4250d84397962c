// An index that is written to and searched at the same time. Run it with ThreadSanitizer too: -DKAREC_SANITIZE=thread.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

constexpr std::size_t kDim = 5;
constexpr std::int64_t kWorks = 400;

// All values of a write are one number: a half-written row, or rows of two generations, give other scores.
std::vector<float> all(float value, std::size_t n) {
    return std::vector<float>(n * kDim, value);
}

ItemIndex make(DType dtype) {
    std::vector<std::int64_t> ids(kWorks);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
    const std::vector<float> vectors = all(1.0f, ids.size());
    ItemIndex::BuildOptions options;
    options.dtype = dtype;
    return ItemIndex::build(ids, {vectors.data(), ids.size(), kDim, DType::float32}, options).value();
}

const std::vector<float> kOnes(kDim, 1.0f);

// Every kind of read while every kind of write runs; vectors of two model versions.
void readers_see_whole_generations(DType dtype) {
    ItemIndex index = make(dtype);
    CHECK(index.build_lists({4, 0}).ok());
    const VersionQuery versions[] = {{0, kOnes}, {1, kOnes}};
    const Query query{std::span<const VersionQuery>(versions)};
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
            const auto seen = index.pinned().scores(query, Candidates::of_ids(group), scores);
            bool good = seen.ok() && seen->generation >= last;
            last = seen->generation;
            for (const float score : scores) good = good && score == scores[0];
            std::vector<float> best(8);
            SearchCount count;
            const Ranked out{best, ids, rows, positions};
            const auto searched = index.pinned().search(query, Candidates::of_ids(group), out);
            good = good && searched.ok();
            for (std::size_t i = 1; good && i < searched->found; ++i) good = good && best[i] == best[0];
            good = good && index.pinned().search_all({&query, 1}, {}, out, {&count, 1}).ok();
            const IndexView view = index.pinned();  // lists that are built meanwhile may leave fewer rows
            good = good && view.search_all({&query, 1}, {}, out, {&count, 1}, 1 + random() % 4).ok();
            good = good && index.pinned().table().ok();
            good = good && view.gather(rows, std::span(scores).first(8 * kDim)).ok();
            const auto mixed = index.pinned().versions();
            good = good && mixed.ok() && !mixed->empty() && mixed->size() <= 2;
            torn += !good;
            n_searches.fetch_add(1, std::memory_order_relaxed);
        }
    };
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (unsigned seed = 0; seed < 3; ++seed) threads.emplace_back(read, seed);
    threads.emplace_back([&] {
        std::mt19937 random(9);
        while (!stop.load(std::memory_order_relaxed)) {
            const auto id = static_cast<std::int64_t>(200 + random() % 200);
            const std::vector<std::int64_t> one = {id};
            const std::vector<float> vector = all(2.0f, 1);
            const std::vector<float> offset = {static_cast<float>(random() % 3)};
            bool good = index.remove(one).ok() && index.adjust(one, {}, offset).ok();
            good =
                good && index.upsert(one, {vector.data(), 1, kDim, DType::float32}, {}, random() % 2 == 0 ? 0 : 1).ok();
            good = good && index.block(one).ok() && index.unblock(one).ok();
            (void)index.calibrate(static_cast<std::int64_t>(random() % 2), 1.0f + static_cast<float>(random() % 3), 1);
            if (random() % 16 == 0) good = good && index.build_lists({0, random()}).ok();
            torn += !good;
        }
    });
    for (int step = 0; step < 150; ++step) {
        const std::vector<float> vectors = all(static_cast<float>(step % 50), group.size());
        CHECK(index.upsert(group, {vectors.data(), group.size(), kDim, DType::float32}, {}, step % 2).ok());
        const std::vector<float> scales(group.size(), static_cast<float>(1 + step % 2));
        CHECK(index.adjust(group, scales, {}).ok());
        CHECK((step % 3 == 0 ? index.block(group) : index.unblock(group)).ok());
    }
    while (n_searches < 30) std::this_thread::yield();
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(torn == 0);
    // No reader is left: rows of replaced items are reused.
    const std::vector<float> vectors = all(1.0f, group.size());
    const MatrixView view{vectors.data(), group.size(), kDim, DType::float32};
    CHECK(index.upsert(group, view, {}, 0).ok());
    const std::size_t n_rows = index.pinned().n_rows();
    for (int step = 0; step < 5; ++step) CHECK(index.upsert(group, view, {}, 0).ok());
    CHECK(index.pinned().n_rows() == n_rows);
}

}  // namespace

TEST(readers_read_complete_generations_during_writes) {
    for (const DType dtype : {DType::float32, DType::float16, DType::int8}) readers_see_whole_generations(dtype);
}

TEST(emptied_and_saved_index_distinguishes_new_versions) {
    const std::string path = "emptied-" + std::to_string(::getpid()) + ".karec";
    const std::vector<std::int64_t> two = {10, 11};
    const std::vector<float> vectors = all(1.0f, 2);
    const auto put = [&](ItemIndex& index, std::size_t i, std::int64_t version) {
        const MatrixView view{vectors.data(), 1, kDim, DType::float32};
        CHECK(index.upsert(std::span(two).subspan(i, 1), view, {}, version).ok());
    };
    ItemIndex first = ItemIndex::build({}, {nullptr, 0, kDim, DType::float32}, {}).value();
    put(first, 0, 1);
    put(first, 1, 2);
    CHECK(first.remove(two).ok() && first.pinned().save(path).ok());
    ItemIndex index = ItemIndex::open(path).value();
    put(index, 0, 3);
    put(index, 1, 4);
    const std::vector<float> fives(kDim, 5.0f);
    const VersionQuery versions[] = {{3, fives}, {4, kOnes}};
    std::vector<float> scores(2);
    const Query query{std::span<const VersionQuery>(versions)};
    CHECK(index.pinned().scores(query, Candidates::of_ids(two), scores).ok());
    CHECK((scores == std::vector<float>{5.0f * kDim * 1.0f, 1.0f * kDim}));
    put(index, 1, 3);
    CHECK(index.pinned().model_versions().value() == std::vector<std::int64_t>{3});
    (void)std::remove(path.c_str());
}

TEST(empty_index_grows_and_reuses_rows) {
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
        CHECK(index.pinned().scores(kOnes, Candidates::of_ids(ids), scores).ok());
        for (std::size_t i = 0; i < kBatch; ++i) CHECK(scores[i] == static_cast<float>(i * kDim));
    }
    CHECK(index.pinned().size() == 40 * kBatch && index.pinned().n_rows() <= 42 * kBatch &&
          index.pinned().generation() == 61);
    CHECK(index.pinned().model_versions().value() == std::vector<std::int64_t>{3});
    const auto table = index.pinned().table().value();
    CHECK(static_cast<std::size_t>(std::ranges::count(table->present, 1)) == index.pinned().size());
}
