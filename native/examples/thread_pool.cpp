// Serves requests on a pool of threads. One Stages serves all of them; each thread has a Page of its own.
//
//   thread_pool BUNDLES STAGES ONNXRUNTIME N_THREADS USER_ID…
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

#include "karec/stages.hpp"

int main(int argc, char** argv) {
    if (argc < 6) {
        std::fprintf(stderr, "usage: thread_pool BUNDLES STAGES ONNXRUNTIME N_THREADS USER_ID…\n");
        return 2;
    }
    karec::StagesOptions options;
    options.onnxruntime = argv[3];
    const auto stages = karec::Stages::open(argv[1], argv[2], options);
    if (!stages.ok()) {
        std::fprintf(stderr, "thread_pool: %s\n", stages.status().message().c_str());
        return 1;
    }
    const auto candidates = stages->index().pinned().table();
    if (!candidates.ok()) return 1;
    const std::int64_t now_ms = static_cast<std::int64_t>(std::time(nullptr)) * 1000;

    const int n_users = argc - 5;
    std::atomic<int> next{0};
    std::atomic<int> n_failed{0};
    const auto serve = [&] {
        karec::Page page;  // reused: after the first requests it allocates nothing
        for (int i = next++; i < n_users; i = next++) {
            karec::UserState user;
            user.user_id = std::strtoll(argv[5 + i], nullptr, 10);
            karec::Request request;
            request.candidates = candidates.value()->ids;
            request.user = &user;
            request.time_ms = now_ms;
            const auto status = stages->run(request, page);
            if (!status.ok()) {
                std::fprintf(stderr, "user %s: %s\n", argv[5 + i], status.message().c_str());
                ++n_failed;
            } else {
                std::printf("user %s: %zu items\n", argv[5 + i], page.ids.size());
            }
        }
    };
    std::vector<std::thread> threads;
    for (long t = std::strtol(argv[4], nullptr, 10); t > 0; --t) threads.emplace_back(serve);
    for (std::thread& thread : threads) thread.join();
    return n_failed == 0 ? 0 : 1;
}
