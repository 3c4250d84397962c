// Serves a user while a thread follows the published bundle: reload() opens a new version between or during requests.
//
//   reload BUNDLES STAGES ONNXRUNTIME USER_ID N_REQUESTS
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>

#include "karec/stages.hpp"

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "usage: reload BUNDLES STAGES ONNXRUNTIME USER_ID N_REQUESTS\n");
        return 2;
    }
    karec::StagesOptions options;
    options.onnxruntime = argv[3];
    auto stages = karec::Stages::open(argv[1], argv[2], options);
    if (!stages.ok()) {
        std::fprintf(stderr, "reload: %s\n", stages.status().message().c_str());
        return 1;
    }
    std::atomic<bool> is_over{false};
    std::thread follower([&] {
        while (!is_over) {
            const auto reloaded = stages->reload();  // a failure leaves the old bundle in service
            if (!reloaded.ok()) std::fprintf(stderr, "reload: %s\n", reloaded.status().message().c_str());
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
    });

    karec::UserState user;
    user.user_id = std::strtoll(argv[4], nullptr, 10);
    karec::Page page;
    int n_failed = 0;
    for (long i = std::strtol(argv[5], nullptr, 10); i > 0; --i) {
        const auto candidates = stages->index().pinned().table();
        karec::Request request;
        if (candidates.ok()) request.candidates = candidates.value()->ids;
        request.user = &user;
        request.time_ms = static_cast<std::int64_t>(std::time(nullptr)) * 1000;
        if (!stages->run(request, page).ok()) ++n_failed;
    }
    is_over = true;
    follower.join();
    std::printf("model version %lld: %d failed\n", static_cast<long long>(page.model_version), n_failed);
    return n_failed == 0 ? 0 : 1;
}
