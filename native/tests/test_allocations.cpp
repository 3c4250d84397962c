// In steady state a search asks the heap for nothing: every operator new of this program is counted.
#include <atomic>
#include <cstdlib>
#include <new>
#include <numeric>

#include "bundle_files.hpp"
#include "check.hpp"
#include "karec/karec.h"
#include "karec/prerank.hpp"

namespace {

std::atomic<long> n_new{0};

void* counted(std::size_t bytes, std::size_t alignment) {
    ++n_new;
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
    return counted(bytes, 16);
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return counted(bytes, static_cast<std::size_t>(alignment));
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

// operator new calls of one call, after two to warm up.
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
        const ItemIndex index = index_of_version(1, dtype);
        Out out;
        std::vector<float> scores(rows.size());
        CHECK(steady([&] { CHECK(index.search(kUser, Candidates::of_ids(ids), out.first(kBest)).ok()); }) == 0);
        CHECK(steady([&] { CHECK(index.search(kUser, Candidates::of_rows(rows), out.first(kBest)).ok()); }) == 0);
        CHECK(steady([&] { CHECK(index.scores(kUser, Candidates::of_rows(rows), scores).ok()); }) == 0);
        const Query query(kUser);
        SearchCount counts[2];
        CHECK(steady([&] { CHECK(index.search_all({&query, 1}, {}, out.first(kBest), {counts, 1}).ok()); }) == 0);
        const Query queries[] = {Query(kUser), Query(kUser)};
        const std::vector<std::int64_t> indptr = {0, 100, 600};
        CHECK(
            steady([&] {
                CHECK(
                    index.search_batch(queries, Candidates::of_rows(rows), indptr, out.first(2 * kBest), counts).ok());
            }) == 0);
    }
}

TEST(prerank_without_dpp_allocates_nothing_through_either_interface) {
    BundleFolder folder;
    folder.publish(1);
    std::string stage = kBundleStage;
    stage.resize(stage.rfind("step dpp"));
    write_file(folder.settings(), sealed(stage));
    std::vector<std::int64_t> ids(1800);
    std::iota(ids.begin(), ids.end(), 0);
    Out out;
    out.scores.resize(200), out.ids.resize(200), out.rows.resize(200);
    const auto ranker = PreRanker::open(folder.root(), PrerankSettings::read(folder.settings()).value());
    const std::vector<std::int64_t> shown = {3, 9};
    PrerankRequest request;
    request.candidates = ids;
    request.user_vector = kUser;
    request.shown = shown;
    request.time_ms = kBundleNow;
    CHECK(steady([&] { CHECK(ranker->run(request, {out.scores, out.ids, out.rows}).ok()); }) == 0);

    karec_preranker* handle = nullptr;
    CHECK(karec_preranker_open(folder.root().c_str(), folder.settings().c_str(), nullptr, &handle) == KAREC_OK);
    karec_prerank_request asked{};
    asked.struct_size = sizeof asked;
    asked.candidates = ids.data();
    asked.n_candidates = ids.size();
    asked.user_vector = kUser.data();
    asked.dim = kUser.size();
    asked.time_ms = kBundleNow;
    asked.k = 10;
    const karec_preranked to{sizeof to, out.scores.data(), out.ids.data(), out.rows.data(), 200};
    karec_prerank_count count{};
    count.struct_size = sizeof count;
    CHECK(steady([&] { CHECK(karec_preranker_run(handle, &asked, &to, &count) == KAREC_OK); }) == 0);
    karec_preranker_close(handle);
}
