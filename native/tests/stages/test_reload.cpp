// Reloads and upserts while other threads search: no run fails, no run mixes generations, memory does not grow.
//
//   test_reload [reloads, 1000]     long run: 10000; run it also with -DKAREC_SANITIZE=thread
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "bundle_files.hpp"
#include "karec/stages.hpp"

using namespace karec;

namespace {

std::size_t resident_kib() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        if (word == "VmRSS:") {
            std::size_t kib = 0;
            status >> kib;
            return kib;
        }
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const int reloads = argc > 1 ? static_cast<int>(std::strtol(argv[1], nullptr, 10)) : 1000;
    constexpr int kThreads = 8;
    BundleFolder folder;
    folder.publish(1);
    folder.publish(2);
    write_file(folder.settings(),
               stage_text(kIndexRows + kHasEmbedding + inner_product_step(100) +
                          R"(, {"use": "freshness", "name": "freshness", "weight": 0, "half_life_hours": 24}, )" +
                          quota_step("creator_id", 100)));
    auto stages = Stages::open(folder.root(), folder.settings(), {}).value();
    std::vector<std::int64_t> ids;
    ids.reserve(kBundleWorks);
    for (std::size_t i = 0; i < kBundleWorks; ++i) ids.push_back(static_cast<std::int64_t>(3 * i));
    std::atomic<bool> stop{false};
    std::atomic<long> failed{0};
    std::atomic<long> mixed{0};
    std::atomic<long> runs{0};
    const auto search = [&] {
        // The first value of a vector of version v is v plus less than 0.1: the score tells the version.
        const std::vector<float> user = {1.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        Page page;
        while (!stop.load(std::memory_order_relaxed)) {
            Request request;
            request.candidates = ids;
            request.user_vector = user;
            request.time_ms = kBundleNow;
            if (!stages.run(request, page).ok() || page.ids.size() != 100) {
                ++failed;
                continue;
            }
            for (const float score : page.scores) {
                if (static_cast<std::int64_t>(score) != page.model_version) {
                    ++mixed;
                    break;
                }
            }
            runs.fetch_add(1, std::memory_order_relaxed);
        }
    };
    const auto write = [&] {
        const std::vector<std::int64_t> some(ids.begin(), ids.begin() + 20);
        while (!stop.load(std::memory_order_relaxed)) {
            ItemIndex index = stages.index();
            const std::int64_t version = index.pinned().model_version();
            std::vector<float> vectors(some.size() * kBundleDim, 0.05f);
            for (std::size_t i = 0; i < some.size(); ++i) vectors[i * kBundleDim] += static_cast<float>(version);
            const std::vector<std::int64_t> numbers(some.size(), kBundleNow);
            const std::vector<std::int32_t> types(some.size(), 1);
            const std::vector<float> tones(some.size(), 0.5f);
            const Column columns[] = {{"creator_id", DType::int64, std::as_bytes(std::span(numbers))},
                                      {"upload_ms", DType::int64, std::as_bytes(std::span(numbers))},
                                      {"type", DType::int32, std::as_bytes(std::span(types))},
                                      {"tone", DType::float32, std::as_bytes(std::span(tones))}};
            const MatrixView view{vectors.data(), some.size(), kBundleDim, DType::float32};
            if (!index.upsert(some, view, columns, version).ok()) ++failed;
        }
    };
    std::vector<std::thread> threads;
    threads.reserve(kThreads + 1);
    for (int t = 0; t < kThreads; ++t) threads.emplace_back(search);
    threads.emplace_back(write);
    std::size_t early = 0;
    for (int step = 0; step < reloads; ++step) {
        folder.point_at(step % 2 == 0 ? 1 : 2);
        const auto reloaded = stages.reload();
        if (!reloaded.ok() || !reloaded.value()) ++failed;
        if (step == reloads / 4) early = resident_kib();
    }
    while (runs + failed < 100) std::this_thread::yield();
    const std::size_t late = resident_kib();
    stop = true;
    for (std::thread& thread : threads) thread.join();
    std::printf("%d reloads, %ld runs, %ld failed, %ld mixed; resident %zu KiB after a quarter, %zu KiB at the end\n",
                reloads, runs.load(), failed.load(), mixed.load(), early, late);
#if defined(__SANITIZE_ADDRESS__)
    const bool flat = true;  // AddressSanitizer does not reuse freed memory
#else
    // Allows for malloc arenas of new threads; a leaked bundle a reload (110 KiB each) would exceed it.
    const auto later = static_cast<std::size_t>(reloads - reloads / 4);
    const bool flat = late < early + std::min<std::size_t>(4096 + 24 * later, std::size_t{32} * 1024);
#endif
    return failed == 0 && mixed == 0 && flat ? 0 : 1;
}
