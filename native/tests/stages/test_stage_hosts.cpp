// Stages for hosts: the library of ONNX Runtime, metrics, reloads, forks; the C interface.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "karec/karec.h"
#include "karec/stages.hpp"
#include "onnx/onnx_model.hpp"
#include "stage_requests.hpp"

using namespace karec;

TEST(onnx_model_requires_an_existing_library) {
    const auto open = [](const std::string& library) { return OnnxModel::open({}, "model", library).status(); };
    CHECK(has_message(open("/nowhere.so"), Code::io_error, "cannot open ONNX Runtime '/nowhere.so'"));
    CHECK(open("/nowhere.so").system_error() == ENOENT);
    CHECK(has_message(open("/dev/null"), Code::io_error, "cannot open ONNX Runtime"));
    CHECK(has_message(open(KAREC_NO_ONNXRUNTIME), Code::bad_format, "its OrtGetApiBase() gives NULL"));
}

TEST(c_host_gets_a_page_if_its_callback_throws) {
    BundleFolder folder;
    folder.publish(1);
    karec_stages_options options = KAREC_STAGES_OPTIONS_INIT;
    int n_calls = 0;
    options.context = &n_calls;
    options.on_step = [](void* context, const karec_step_metrics* metrics) {
        *static_cast<int*>(context) += std::string(metrics->stage) == "prerank" ? 1 : 0;
        throw std::runtime_error("metrics are full");
    };
    karec_stages* stages = nullptr;
    CHECK(karec_stages_open(folder.root().c_str(), folder.settings().c_str(), &options, &stages) == KAREC_OK);
    const auto ids = all_ids();
    Page expected;
    CHECK(open_stages(folder)->run(request_of(ids), expected).ok());
    karec_request request = KAREC_REQUEST_INIT;
    request.candidates = ids.data();
    request.n_candidates = ids.size();
    request.user_vector = kUser.data();
    request.dim = kUser.size();
    request.time_ms = kBundleNow;
    Page arrays{std::vector<std::int64_t>(20), std::vector<float>(20), std::vector<std::int32_t>(20)};
    karec_page page = KAREC_PAGE_INIT;
    page.ids = arrays.ids.data();
    page.scores = arrays.scores.data();
    page.rows = arrays.rows.data();
    page.capacity = 19;
    const auto is_refused = [&](const std::string& message) {
        return karec_stages_run(stages, &request, &page) == KAREC_INVALID_ARGUMENT && page.n_items == 0 &&
               std::string(karec_last_error()).find(message) != std::string::npos;
    };
    CHECK(is_refused("page->capacity is 19, the page has 20 items") && n_calls == 8);
    page.capacity = 20;
    CHECK(karec_stages_run(stages, &request, &page) == KAREC_OK && page.n_items == 20 && page.n_unknown == 600);
    CHECK(arrays.ids == expected.ids && arrays.scores == expected.scores && arrays.rows == expected.rows);
    const std::int64_t version = 1;
    request.model_versions = &version;
    request.n_versions = 1;
    CHECK(karec_stages_run(stages, &request, &page) == KAREC_OK && arrays.ids == expected.ids);
    page.n_items = 0;
    request.dim = 7;
    CHECK(is_refused("has 7 values, expected 8"));
    request.dim = 0;
    CHECK(is_refused("request->dim is 0"));
    request.user_vector = nullptr;
    CHECK(is_refused("request->user_vector is NULL"));
    karec_stages_close(stages);
}

TEST(c_host_error_names_the_unreadable_member_of_a_user) {
    BundleFolder folder;
    folder.publish(1);
    karec_stages* stages = nullptr;
    CHECK(karec_stages_open(folder.root().c_str(), folder.settings().c_str(), nullptr, &stages) == KAREC_OK);
    karec_request request = KAREC_REQUEST_INIT;
    karec_user user = KAREC_USER_INIT;
    request.user = &user;
    karec_page page = KAREC_PAGE_INIT;
    const auto is_refused = [&](const std::string& message) {
        const bool is_expected = karec_stages_run(stages, &request, &page) == KAREC_INVALID_ARGUMENT &&
                                 std::string(karec_last_error()).find(message) != std::string::npos;
        if (!is_expected) std::fprintf(stderr, "got: %s\n", karec_last_error());
        user = KAREC_USER_INIT;
        return is_expected;
    };
    user.struct_size = 8;
    CHECK(is_refused("request->user->struct_size is 8, expected sizeof"));
    const std::pair<size_t karec_user::*, std::string> lists[] = {{&karec_user::n_history, "history"},
                                                                  {&karec_user::n_skipped, "skipped"},
                                                                  {&karec_user::n_follows, "follows"},
                                                                  {&karec_user::n_friends, "friends"},
                                                                  {&karec_user::n_counters, "counter_names"}};
    for (const auto& [length, name] : lists) {
        user.*length = 2;
        CHECK(is_refused("user->" + name + " is NULL"));
    }
    const std::int64_t item = 3;
    user.history = &item;
    user.n_history = SIZE_MAX;
    CHECK(is_refused("user->history has more entries"));
    const char* const names[] = {"count_exposed", nullptr};
    user.counter_names = names;
    user.n_counters = 2;
    CHECK(is_refused("user->counter_names is NULL"));
    karec_stages_close(stages);
}

TEST(metrics_have_every_step) {
    BundleFolder folder;
    folder.publish(1);
    struct Metrics {
        std::vector<std::string> steps;
        std::vector<std::size_t> sizes;
    } metrics;
    StagesOptions options;
    options.context = &metrics;
    options.on_step = [](void* context, const StepMetrics& step) noexcept {
        auto& to = *static_cast<Metrics*>(context);
        to.steps.emplace_back(step.step);
        to.sizes.push_back(step.n_out);
    };
    const auto stages = Stages::open(folder.root(), folder.settings(), options);
    const auto ids = all_ids();
    Page page;
    CHECK(stages->run(request_of(ids), page).ok());
    CHECK((metrics.steps == std::vector<std::string>{"index_rows", "has_embedding", "inner_product", "not_shown",
                                                     "freshness", "tone", "quota", "scattered"}));
    CHECK(metrics.sizes[0] == 900 && metrics.sizes[1] == 300 && metrics.sizes[2] == 200 && metrics.sizes.back() == 20);
}

// Not under ThreadSanitizer, which does not support fork() in a program with several threads; nor under
// AddressSanitizer: a child may wait forever for a lock of its allocator that another thread held.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
TEST(child_runs_and_reloads_after_a_fork_during_a_reload) {
    BundleFolder folder;
    folder.publish(2);
    folder.publish(1);
    auto stages = open_stages(folder);
    const auto ids = all_ids();
    std::atomic<bool> is_over{false};
    std::atomic<int> reloads{0};
    std::thread other([&] {
        for (std::int64_t version = 2; !is_over; version = 3 - version) {
            folder.point_at(version);
            reloads += stages->reload().ok() ? 1 : 0;
        }
    });
    while (reloads < 2) std::this_thread::yield();
    for (int round = 0; round < 20; ++round) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(20);
            Page page;
            const bool ran = stages->run(request_of(ids), page).ok();
            const bool again = stages->reload().ok() && stages->run(request_of(ids), page).ok();
            ::_exit(ran && again ? 0 : 1);
        }
        int status = 0;
        CHECK(::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    is_over = true;
    other.join();
}

TEST(onnx_model_opens_in_a_child_forked_while_another_thread_opens_one) {
    void* library = ::dlopen(KAREC_SLOW_ONNXRUNTIME, RTLD_NOW);
    CHECK(library != nullptr);
    if (library == nullptr) return;
    const auto* is_asked = static_cast<const volatile int*>(::dlsym(library, "is_asked"));
    const auto is_refused = [] {
        return OnnxModel::open({}, "model", KAREC_SLOW_ONNXRUNTIME).status().code() == Code::bad_format;
    };
    std::thread other([&] { CHECK(is_refused()); });
    while (*is_asked == 0) std::this_thread::yield();
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(20);
        ::_exit(is_refused() ? 0 : 1);
    }
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    other.join();
    ::dlclose(library);
}
#endif

TEST(failed_reload_keeps_the_old_bundle) {
    BundleFolder folder;
    folder.publish(1);
    auto stages = open_stages(folder);
    CHECK(!stages->reload().value());
    folder.publish(2);
    write_file(folder.folder(2) + "/index.karec", "torn");
    CHECK(has_message(stages->reload().status(), Code::bad_format, "has 4 bytes"));
    CHECK(stages->model_version() == 1);
    folder.publish(3);
    CHECK(stages->reload().value() && stages->model_version() == 3);
    const auto ids = all_ids();
    Page page;
    CHECK(stages->run(request_of(ids), page).ok() && page.model_version == 3);
}
