// What a view costs: nanoseconds to pin an index and to give the view up again.
//
//   pin_bench [ROUNDS, 31]      prints "threads held nanoseconds" lines
//
// `threads` pin and unpin at once, each as fast as it can, while `held` other views are held and nothing is written.
// Each figure is the median over rounds of the time that one thread takes for one view.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "karec/item_index.hpp"

using namespace karec;

namespace {

constexpr int kViews = 100'000;  // in one round of one thread

ItemIndex make() {
    const std::vector<std::int64_t> ids = {1, 2, 3};
    const std::vector<float> vectors(ids.size() * 8, 1.0f);
    return ItemIndex::build(ids, {vectors.data(), ids.size(), 8, DType::float32}, {}).value();
}

double one_round(const ItemIndex& index, std::size_t n_threads) {
    std::atomic<std::size_t> ready{0};
    std::atomic<std::uint64_t> sum{0};
    std::vector<double> spent(n_threads);
    const auto pin = [&](std::size_t thread) {
        for (ready.fetch_add(1); ready.load() < n_threads;) std::this_thread::yield();
        std::uint64_t generations = 0;
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < kViews; ++i) generations += index.pinned().generation();
        const std::chrono::duration<double, std::nano> each = std::chrono::steady_clock::now() - start;
        spent[thread] = each.count() / kViews;
        sum += generations;
    };
    std::vector<std::thread> others;
    for (std::size_t thread = 1; thread < n_threads; ++thread) others.emplace_back(pin, thread);
    pin(0);
    for (std::thread& other : others) other.join();
    if (sum != n_threads * kViews) std::abort();
    return *std::ranges::max_element(spent);
}

}  // namespace

int main(int argc, char** argv) {
    const long rounds = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 31;
    if (rounds < 1) return 2;
    std::thread([] {}).join();  // from the first thread on, reference counts are atomic, as in any host
    for (const std::size_t n_threads : {1, 2}) {
        for (const std::size_t n_held : {0, 8, 64}) {
            const ItemIndex index = make();
            std::vector<IndexView> held;
            held.reserve(n_held);
            for (std::size_t i = 0; i < n_held; ++i) held.push_back(index.pinned());
            std::vector<double> each;
            for (long round = -2; round < rounds; ++round) {
                const double spent = one_round(index, n_threads);
                if (round >= 0) each.push_back(spent);
            }
            std::ranges::nth_element(each, each.begin() + static_cast<std::ptrdiff_t>(each.size() / 2));
            std::printf("%zu %zu %.1f\n", n_threads, n_held, each[each.size() / 2]);
        }
    }
    return 0;
}
