// fork() in a program of several threads: the child's index is complete, writes to it do not wait forever, and its rows
// are reused. Views that other threads took are refused in the child.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "check.hpp"
#include "karec/item_index.hpp"

// Not under ThreadSanitizer, which does not support fork() in a program with several threads; nor under
// AddressSanitizer: a child may wait forever for a lock of its allocator that another thread held.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)

using namespace karec;

namespace {

constexpr std::size_t kWorks = 2000;
constexpr std::size_t kDim = 4;

struct Works {
    Works() : ids(kWorks), vectors(kWorks * kDim, 1.0f) {
        for (std::size_t i = 0; i < kWorks; ++i) ids[i] = static_cast<std::int64_t>(i);
    }
    MatrixView view() const { return {vectors.data(), ids.size(), kDim, DType::float32}; }
    std::vector<std::int64_t> ids;
    std::vector<float> vectors;
};

ItemIndex index_of(const Works& works) {
    return std::move(ItemIndex::build(works.ids, works.view(), {}).value());
}

// Returns whether `body` returns true in a child, within 20 seconds.
template <class Body>
bool in_child(const Body& body) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(20);
        ::_exit(body() ? 0 : 1);
    }
    int status = 0;
    CHECK(child > 0 && ::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Runs `body` again and again in another thread, from before `meanwhile` begins until it has ended.
template <class Body, class Meanwhile>
void beside(const Body& body, const Meanwhile& meanwhile) {
    std::atomic<bool> is_over{false};
    std::atomic<int> rounds{0};
    std::thread other([&] {
        for (; !is_over; ++rounds) body();
    });
    while (rounds < 2) std::this_thread::yield();
    meanwhile();
    is_over = true;
    other.join();
}

}  // namespace

TEST(child_writes_after_a_fork_during_a_write) {
    const Works works;
    ItemIndex index = index_of(works);
    beside([&] { CHECK(index.upsert(works.ids, works.view(), {}, 0).ok()); },
           [&] {
               for (int round = 0; round < 20; ++round) {
                   CHECK(in_child([&] {
                       return index.upsert(works.ids, works.view(), {}, 1).ok() && index.pinned().size() == kWorks &&
                              index.remove(works.ids).value() == 0 && index.pinned().size() == 0;
                   }));
               }
           });
    CHECK(index.pinned().size() == kWorks);
}

TEST(child_reuses_rows_that_other_threads_had_pinned) {
    const Works works;
    ItemIndex index = index_of(works);
    const std::vector<float> query(kDim, 1.0f);
    std::vector<float> scores(kWorks);
    const auto upsert_often = [&] {
        for (int round = 0; round < 10; ++round) {
            if (!index.upsert(works.ids, works.view(), {}, 0).ok()) return false;
        }
        return index.pinned().n_rows() <= 3 * kWorks;
    };
    CHECK(in_child(upsert_often));
    beside([&] { CHECK(index.pinned().scores(query, Candidates::of_ids(works.ids), scores).ok()); },
           [&] {
               for (int round = 0; round < 20; ++round) CHECK(in_child(upsert_often));
           });
    std::atomic<bool> is_over{false};
    std::atomic<bool> holds{false};
    std::thread holder([&] {
        const IndexView view = index.pinned();
        holds = true;
        while (!is_over) std::this_thread::yield();
    });
    while (!holds) std::this_thread::yield();
    CHECK(in_child(upsert_often));
    is_over = true;
    holder.join();
}

TEST(child_can_use_only_views_of_the_forking_thread) {
    const Works works;
    ItemIndex index = index_of(works);
    std::unique_ptr<IndexView> others;
    std::thread([&] { others = std::make_unique<IndexView>(index.pinned()); }).join();
    std::unique_ptr<IndexView> own = std::make_unique<IndexView>(index.pinned());
    CHECK(in_child([&] {
        std::vector<float> changed(kWorks * kDim, 2.0f);
        for (int round = 0; round < 3; ++round) {
            if (!index.upsert(works.ids, {changed.data(), kWorks, kDim, DType::float32}, {}, 0).ok()) return false;
        }
        const std::vector<std::int32_t> rows = {0, 1};
        std::vector<float> vectors(2 * kDim);
        const Status refused = others->gather(rows, vectors);
        const bool named =
            refused.code() == Code::unavailable && refused.message().find("another thread") != std::string::npos;
        bool right = named && others->size() == kWorks && own->gather(rows, vectors).ok() && vectors[0] == 1.0f;
        std::int32_t row = 0;
        right = right && others->lookup({works.ids.data(), 1}, {&row, 1}).code() == Code::unavailable;
        others.reset();
        own.reset();
        const IndexView fresh = index.pinned();
        return right && fresh.gather(rows, vectors).ok() && index.pinned().n_rows() <= 4 * kWorks;
    }));
    std::vector<float> vectors(kDim);
    CHECK(others->gather(std::vector<std::int32_t>{0}, vectors).ok() && own->size() == kWorks);
}

#endif
