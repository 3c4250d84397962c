// Serves requests on a pool of threads. One Stages serves all of them; each thread has a Page of its own.
//
//   thread_pool BUNDLES STAGES ONNXRUNTIME N_THREADS USER_ID…
#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <system_error>
#include <thread>
#include <vector>

#include "karec/stages.hpp"

namespace {

int print_usage() {
    std::fprintf(stderr, "usage: thread_pool BUNDLES STAGES ONNXRUNTIME N_THREADS USER_ID…\n");
    return 2;
}

bool read_number(const char* text, std::int64_t& number) {
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), number);
    return error == std::errc() && *end == '\0';
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 6) return print_usage();
    std::int64_t n_threads = 0;
    if (!read_number(argv[4], n_threads) || n_threads < 1 || n_threads > 1024) return print_usage();
    std::vector<std::int64_t> users(static_cast<std::size_t>(argc) - 5);
    for (std::size_t i = 0; i < users.size(); ++i) {
        if (!read_number(argv[5 + i], users[i])) return print_usage();
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

    std::atomic<std::size_t> next{0};
    std::atomic<int> n_failed{0};
    const auto serve = [&] {
        karec::Page page;  // reused: after the first requests it allocates nothing
        for (std::size_t i = next++; i < users.size(); i = next++) {
            karec::UserState user;
            user.user_id = users[i];
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
    threads.reserve(static_cast<std::size_t>(n_threads));
    for (std::int64_t t = 0; t < n_threads; ++t) threads.emplace_back(serve);
    for (std::thread& thread : threads) thread.join();
    return n_failed == 0 ? 0 : 1;
}
