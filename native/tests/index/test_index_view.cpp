// IndexView: its results, the memory that it keeps alive, and rows of other generations, which it refuses.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

constexpr std::size_t kDim = 4;

ItemIndex make(std::int64_t n) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(n));
    std::vector<float> vectors(ids.size() * kDim, 1.0f);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
    const Column column{"owner", DType::int64, std::as_bytes(std::span(ids))};
    ItemIndex::BuildOptions options;
    options.dtype = DType::float32;
    options.columns = {&column, 1};
    return ItemIndex::build(ids, {vectors.data(), ids.size(), kDim, DType::float32}, options).value();
}

// Inserts items with `owner` and the same value in each dimension.
void put(ItemIndex& index, std::span<const std::int64_t> ids, float value, std::int64_t owner,
         std::int64_t version = 0) {
    const std::vector<float> vectors(ids.size() * kDim, value);
    const std::vector<std::int64_t> owners(ids.size(), owner);
    const Column column{"owner", DType::int64, std::as_bytes(std::span(owners))};
    CHECK(index.upsert(ids, {vectors.data(), ids.size(), kDim, DType::float32}, {&column, 1}, version).ok());
}

bool refused(const Status& status, std::string_view why) {
    return status.code() == Code::invalid_argument && status.message().find(why) != std::string::npos;
}

}  // namespace

TEST(view_reads_its_generation_after_writes) {
    ItemIndex index = make(100);
    const std::vector<std::int64_t> ids = {5, 6, 7};
    const IndexView view = index.pinned();
    std::vector<std::int32_t> rows(3);
    CHECK(view.lookup(ids, rows).ok());
    CHECK(index.remove(ids).ok());
    const std::vector<std::int64_t> others = {1000, 1001, 1002, 1003};
    for (int write = 0; write < 3; ++write) put(index, others, 9.0f, 9);
    std::vector<float> vectors(3 * kDim);
    std::vector<std::int64_t> owners(3);
    CHECK(view.gather({rows, view.generation()}, vectors).ok());
    CHECK(std::ranges::all_of(vectors, [](float x) { return x == 1.0f; }));
    CHECK(view.gather_column("owner", rows, std::as_writable_bytes(std::span(owners))).ok() && owners == ids);
    CHECK(view.size() == 100 && view.n_rows() == 100 && view.generation() == 1);
    CHECK(index.pinned().size() == 101 && index.pinned().generation() == 5);
}

TEST(rows_of_another_generation_are_refused_with_both_numbers) {
    ItemIndex index = make(10);
    const std::vector<std::int32_t> values = {1, 2};
    const Rows rows{values, index.pinned().generation()};
    std::vector<float> scores(2);
    std::vector<float> vectors(2 * kDim);
    std::vector<std::int64_t> owners(2);
    std::vector<double> gains(2);
    const auto out = std::as_writable_bytes(std::span(owners));
    CHECK(index.pinned().gather(rows, vectors).ok() && index.pinned().gather_column("owner", rows, out).ok());
    CHECK(index.remove(std::vector<std::int64_t>{7}).ok());
    const std::string_view why = "rows are of generation 1, this reads generation 2";
    const Query query(std::span<const float>(vectors).first(kDim));
    CHECK(refused(index.pinned().gather(rows, vectors), why));
    CHECK(refused(index.pinned().gather_column("owner", rows, out), why));
    CHECK(refused(index.pinned().scores(query, Candidates::of_rows(rows), scores).status(), why));
    CHECK(refused(index.pinned().dpp_select(rows, scores, {}, owners, gains).status(), why));
    const IndexView view = index.pinned();
    CHECK(refused(view.gather(rows, vectors), why) && view.gather({values, 2}, vectors).ok());
    CHECK(view.gather(values, vectors).ok());  // without a generation
}

TEST(view_returns_the_model_version_of_each_vector) {
    ItemIndex index = make(6);
    put(index, std::vector<std::int64_t>{2, 3}, 5.0f, 2, 8);
    CHECK(index.remove(std::vector<std::int64_t>{4}).ok());
    const IndexView view = index.pinned();
    const std::vector<std::int32_t> rows = {0, 6, 7, 4, 2, kUnknownRow};  // 2 and 3 have new rows; 4 and old 2 none
    std::vector<std::int64_t> versions(rows.size());
    CHECK(view.gather_model_versions({rows, view.generation()}, versions).ok());
    CHECK((versions == std::vector<std::int64_t>{0, 8, 8, 0, 0, 0}));
    CHECK(refused(view.gather_model_versions({rows, 1}, versions), "rows are of generation 1"));
    CHECK(!view.gather_model_versions(rows, std::span(versions).first(2)).ok());

    // A scan counts the items of versions without a query.
    const std::vector<float> ones(kDim, 1.0f);
    const VersionQuery only[] = {{8, ones}};
    const Query query{std::span<const VersionQuery>(only)};
    std::vector<float> scores(5);
    std::vector<std::int64_t> ids(5);
    std::vector<std::int64_t> positions(5);
    std::vector<std::int32_t> best(5);
    SearchCount count;
    CHECK(view.search_all({&query, 1}, {}, Ranked{scores, ids, best, positions}, {&count, 1}).ok());
    CHECK(count.found == 2 && count.unknown == 3);
}

TEST(view_can_be_moved_and_outlives_its_index) {
    std::optional<ItemIndex> index = make(3);
    IndexView first = index->pinned();
    put(*index, std::vector<std::int64_t>{0}, 2.0f, 2);
    IndexView second = index->pinned();
    index.reset();
    CHECK(first.generation() == 1 && second.generation() == 2);
    first = std::move(second);
    CHECK(first.generation() == 2 && first.size() == 3);
    const IndexView third(std::move(first));
    CHECK(third.generation() == 2 && third.n_rows() == 4);
}

TEST(rows_are_reused_after_their_last_view_is_destroyed) {
    ItemIndex index = make(50);
    std::vector<std::int64_t> ids(50);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
    for (int write = 0; write < 3; ++write) put(index, ids, 1.0f, 1);
    const std::size_t settled = index.pinned().n_rows();
    std::optional<IndexView> one = index.pinned();
    std::optional<IndexView> two = index.pinned();
    for (int write = 0; write < 5; ++write) put(index, ids, 2.0f, 2);
    const std::size_t held = index.pinned().n_rows();
    CHECK(held >= settled + 4 * ids.size());
    one.reset();
    put(index, ids, 3.0f, 3);
    CHECK(index.pinned().n_rows() > held);
    two.reset();
    const std::size_t before = index.pinned().n_rows();
    for (int write = 0; write < 20; ++write) put(index, ids, 4.0f, 4);
    CHECK(index.pinned().n_rows() <= before + ids.size());
}

// Threads that hold views and read them step by step while every kind of write runs. All values and owners of a write
// are one number: a row of another generation differs.
TEST(views_stay_consistent_during_writes) {
    ItemIndex index = make(400);
    std::vector<std::int64_t> group(100);  // always written together
    for (std::size_t i = 0; i < group.size(); ++i) group[i] = static_cast<std::int64_t>(i);
    put(index, group, 1.0f, 1);
    const std::vector<float> ones(kDim, 1.0f);
    const VersionQuery versions[] = {{0, ones}, {1, ones}, {2, ones}};
    const Query query{std::span<const VersionQuery>(versions)};
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::atomic<int> n_views{0};
    const auto read = [&] {
        std::vector<std::int32_t> rows(group.size());
        std::vector<float> vectors(group.size() * kDim);
        std::vector<std::int64_t> owners(group.size());
        std::vector<std::int64_t> positions(10);
        std::vector<std::int64_t> ids(10);
        std::vector<std::int32_t> best(10);
        std::vector<float> scores(10);
        std::optional<IndexView> older;
        while (!stop.load(std::memory_order_relaxed)) {
            IndexView view = index.pinned();
            const std::uint64_t generation = view.generation();
            bool good = view.lookup(group, rows).ok();
            for (int step = 0; step < 3; ++step) {
                good = good && view.gather({rows, generation}, vectors).ok();
                const auto bytes = std::as_writable_bytes(std::span(owners));
                good = good && view.gather_column("owner", {rows, generation}, bytes).ok();
                for (const float value : vectors) good = good && value == static_cast<float>(owners[0]);
                for (const std::int64_t owner : owners) good = good && owner == owners[0];
                SearchCount count;
                const Ranked out{scores, ids, best, positions};
                good = good && view.search_all({&query, 1}, {}, out, {&count, 1}).ok();
                good = good && count.generation == generation;
                good = good && view.model_versions().ok() && view.generation() == generation;
            }
            wrong += !good;
            n_views.fetch_add(1, std::memory_order_relaxed);
            if (older && older->generation() >= generation) wrong += older->generation() > generation;
            older = std::move(view);  // held through the next round
        }
    };
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int reader = 0; reader < 3; ++reader) threads.emplace_back(read);
    threads.emplace_back([&] {
        std::mt19937 random(5);
        while (!stop.load(std::memory_order_relaxed)) {
            const std::vector<std::int64_t> one = {static_cast<std::int64_t>(200 + random() % 200)};
            bool good = index.remove(one).ok();
            put(index, one, 1.0f, 1, static_cast<std::int64_t>(random() % 3));
            good = good && index.block(one).ok() && index.unblock(one).ok();
            good = good && index.adjust(one, {}, std::vector<float>{1.0f}).ok();
            wrong += !good;
        }
    });
    for (int write = 0; write < 150 || n_views < 30; ++write) {
        put(index, group, static_cast<float>(1 + write % 40), 1 + write % 40, write % 3);
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    const std::size_t n_rows = index.pinned().n_rows();
    for (int write = 0; write < 5; ++write) put(index, group, 1.0f, 1);
    CHECK(index.pinned().n_rows() <= n_rows + group.size());
}
