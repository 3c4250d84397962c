// Searches allocate nothing after warm-up: every operator new of this program is counted.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <numeric>

#include "check.hpp"
#include "karec/karec.h"
#include "karec/stages.hpp"
#include "stages/bundle_files.hpp"

namespace {

std::atomic<long> n_new{0};
std::atomic<long> fails_at{-1};  // the n_new of the one request that is refused

void* counted(std::size_t bytes, std::size_t alignment) {
    if (n_new++ == fails_at) throw std::bad_alloc();
    void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace

void* operator new(std::size_t bytes) {
    return counted(bytes, 16);
}
void* operator new[](std::size_t bytes) {
    return counted(bytes, 16);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return counted(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
    return counted(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return std::aligned_alloc(16, (bytes + 15) / 16 * 16);
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    const auto step = static_cast<std::size_t>(alignment);
    return std::aligned_alloc(step, (bytes + step - 1) / step * step);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

using namespace karec;

namespace {

constexpr std::size_t kBest = 50;
const std::vector<float> kUser(kBundleDim, 0.5f);

struct Out {
    std::vector<float> scores = std::vector<float>(2 * kBest);
    std::vector<std::int64_t> ids = std::vector<std::int64_t>(2 * kBest);
    std::vector<std::int32_t> rows = std::vector<std::int32_t>(2 * kBest);
    std::vector<std::int64_t> positions = std::vector<std::int64_t>(2 * kBest);
    Ranked first(std::size_t n) {
        return {std::span(scores).first(n), std::span(ids).first(n), std::span(rows).first(n),
                std::span(positions).first(n)};
    }
};

// How often one call allocates, after two calls to warm up.
template <class Call>
long steady(Call&& call) {
    call();
    call();
    const long before = n_new;
    call();
    return n_new - before;
}

}  // namespace

TEST(searches_allocate_nothing) {
    std::vector<std::int64_t> ids(1800);
    std::iota(ids.begin(), ids.end(), 0);
    std::vector<std::int32_t> rows(600);
    std::iota(rows.begin(), rows.end(), 0);
    for (const DType dtype : {DType::float16, DType::float32, DType::int8}) {
        ItemIndex index = index_of_version(1, dtype);
        CHECK(index.build_lists({}).ok());
        Out out;
        std::vector<float> scores(rows.size());
        CHECK(steady([&] { CHECK(index.pinned().search(kUser, Candidates::of_ids(ids), out.first(kBest)).ok()); }) ==
              0);
        CHECK(steady([&] { CHECK(index.pinned().search(kUser, Candidates::of_rows(rows), out.first(kBest)).ok()); }) ==
              0);
        CHECK(steady([&] { CHECK(index.pinned().scores(kUser, Candidates::of_rows(rows), scores).ok()); }) == 0);
        const Query query(kUser);
        SearchCount counts[2];
        CHECK(steady([&] { CHECK(index.pinned().search_all({&query, 1}, {}, out.first(kBest), {counts, 1}).ok()); }) ==
              0);
        CHECK(steady([&] {
                  CHECK(index.pinned().search_all({&query, 1}, {}, out.first(kBest), {counts, 1}, 5).ok());
              }) == 0);
        const ItemIndex coded = index_of_version(1, dtype, true);
        const std::uint32_t codes[] = {3, 5000};
        const float values[] = {1.0f, 2.0f};
        const CodeTable tables[] = {{std::span(codes).first(1), std::span(values).first(1)}, {codes, values}};
        const Query with_tables(kUser, tables);
        CHECK(steady([&] {
                  CHECK(coded.pinned().search(with_tables, Candidates::of_ids(ids), out.first(kBest)).ok());
                  CHECK(coded.pinned().search_all({&with_tables, 1}, {}, out.first(kBest), {counts, 1}).ok());
              }) == 0);
        const Query queries[] = {Query(kUser), Query(kUser)};
        CHECK(steady([&] { CHECK(index.pinned().search_all(queries, {}, out.first(2 * kBest), counts).ok()); }) == 0);
    }
}

TEST(stages_without_dpp_allocate_nothing) {
    BundleFolder folder;
    folder.publish(1);
    write_file(folder.settings(), stage_text(kScoredSteps));
    std::vector<std::int64_t> ids(1800);
    std::iota(ids.begin(), ids.end(), 0);
    const auto stages = Stages::open(folder.root(), folder.settings(), {});
    const std::vector<std::int64_t> shown = {3, 9};
    Request request;
    request.candidates = ids;
    request.user_vector = kUser;
    request.shown = shown;
    request.time_ms = kBundleNow;
    Page page;
    CHECK(steady([&] { CHECK(stages->run(request, page).ok()); }) == 0);
}

TEST(write_without_memory_changes_nothing) {
    constexpr std::size_t kWorks = 300;
    constexpr std::size_t kDim = 4;
    std::vector<std::int64_t> ids(kWorks + 100);
    std::iota(ids.begin(), ids.end(), 0);
    std::vector<float> vectors(ids.size() * kDim);
    for (std::size_t i = 0; i < ids.size(); ++i) std::fill_n(&vectors[i * kDim], kDim, static_cast<float>(i));
    const auto rows_of = [&](std::size_t first, std::size_t n) {
        return MatrixView{&vectors[first * kDim], n, kDim, DType::float32};
    };
    const std::span<const std::int64_t> all(ids);
    const std::vector<float> query(kDim, 0.25f);
    const std::vector<float> ones(100, 1.0f);
    bool refused = true;
    ItemIndex::BuildOptions options;
    options.dtype = DType::float32;
    for (long n = 0; refused; ++n) {
        refused = false;
        ItemIndex index = ItemIndex::build(all.first(kWorks), rows_of(0, kWorks), options).value();
        const auto with_refusal = [&](auto&& write) {
            fails_at = n_new + n;
            const bool ok = write().ok();
            fails_at = -1;
            refused = refused || !ok;
        };
        // The works' own vectors again: scores are the same whether a write was refused or not.
        with_refusal([&] { return index.upsert(all.first(100), rows_of(0, 100), {}, 0); });
        with_refusal([&] { return index.adjust(all.first(100), ones, {}); });
        with_refusal([&] { return index.build_lists({7, 0}); });
        with_refusal([&] { return index.upsert(all.subspan(50, 150), rows_of(50, 150), {}, 0); });
        for (int round = 0; round < 3; ++round) {
            CHECK(index.upsert(all.subspan(kWorks, 100), rows_of(kWorks, 100), {}, 0).ok());
        }
        std::vector<float> scores(ids.size());
        CHECK(index.pinned().scores(query, Candidates::of_ids(ids), scores).ok());
        for (std::size_t i = 0; i < ids.size(); ++i) CHECK(scores[i] == static_cast<float>(i));
    }
}
