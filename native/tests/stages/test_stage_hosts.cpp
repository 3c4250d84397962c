// Stages for hosts: batches and executors, a tower's library, metrics, reloads, forks; the same from C.
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
#include "stage_requests.hpp"

using namespace karec;

TEST(a_batch_runs_on_threads_and_on_the_hosts_executor) {
    BundleFolder folder;
    folder.publish(1);
    const auto ranker = Stages::open(folder.root(), StageSettings::read(folder.settings()).value());
    constexpr std::size_t kUsers = 9;
    const auto ids = all_ids();
    std::vector<Request> requests;
    for (std::size_t u = 0; u < kUsers; ++u) {
        requests.push_back(request_of(ids));
        requests.back().candidates = std::span(ids).first(ids.size() - 30 * u);
    }
    std::vector<Answer> alone(kUsers, Answer(20));
    for (std::size_t u = 0; u < kUsers; ++u) CHECK(ranker->run(requests[u], alone[u].spans()).ok());
    struct Count {
        std::size_t calls = 0;
    } host;
    const Executor inline_executor{[](void* context, std::size_t n, void (*task)(void*, std::size_t), void* data) {
                                       ++static_cast<Count*>(context)->calls;
                                       for (std::size_t i = n; i-- > 0;) task(data, i);
                                   },
                                   &host};
    for (const Executor& executor : {Executor{}, Executor::threads(4), inline_executor}) {
        std::vector<Answer> answers(kUsers, Answer(20));
        std::vector<Preranked> outs;
        outs.reserve(answers.size());
        for (Answer& answer : answers) outs.push_back(answer.spans());
        std::vector<PrerankCount> counts(kUsers);
        std::vector<Status> statuses(kUsers);
        CHECK(ranker->run_batch(requests, outs, counts, statuses, executor).ok());
        CHECK(answers == alone);
        requests[3].k = 0;
        counts.assign(kUsers, {.found = 77});
        CHECK(says(ranker->run_batch(requests, outs, counts, statuses, executor), Code::invalid_argument,
                   "request 3: k must be"));
        for (std::size_t u = 0; u < kUsers; ++u) {
            CHECK(statuses[u].ok() == (u != 3) && counts[u].found == (u == 3 ? 77 : 20));
        }
        requests[3].k = 10;
    }
    CHECK(host.calls == 2);
}

// Runs the tasks of even number, then throws where `throws` is not null.
static void half(void* throws, std::size_t n, void (*task)(void*, std::size_t), void* data) {
    for (std::size_t i = 0; i < n; i += 2) task(data, i);
    if (throws != nullptr) throw std::runtime_error("pool is gone");
}

TEST(requests_that_an_executor_leaves_out_did_not_run) {
    BundleFolder folder;
    folder.publish(1);
    const auto ranker = Stages::open(folder.root(), StageSettings::read(folder.settings()).value());
    const auto ids = all_ids();
    std::vector<Answer> answers(3, Answer(20));
    const std::vector<Request> requests(3, request_of(ids));
    const std::vector<Preranked> outs = {answers[0].spans(), answers[1].spans(), answers[2].spans()};
    int throws = 0;
    for (void* context : {static_cast<void*>(nullptr), static_cast<void*>(&throws)}) {
        std::vector<PrerankCount> counts(3);
        std::vector<Status> statuses(3);
        CHECK(says(ranker->run_batch(requests, outs, counts, statuses, {half, context}), Code::unavailable,
                   context == nullptr ? "request 1: did not run" : "the executor threw: pool is gone"));
        CHECK(statuses[0].ok() && statuses[2].ok() && counts[0].found == 20 && counts[2].found == 20);
        CHECK(says(statuses[1], Code::unavailable, "did not run") && counts[1].found == 0);
    }
}

TEST(a_tower_needs_a_library_that_is_there) {
    const auto tower = UserTower::open("/dev/null", "/nowhere.so", 1);
    CHECK(says(tower.status(), Code::io_error, "cannot open ONNX Runtime '/nowhere.so'"));
    CHECK(tower.status().system_error() == ENOENT);
    CHECK(says(UserTower::open("/dev/null", "/dev/null", 1).status(), Code::io_error, "cannot open ONNX Runtime"));
    CHECK(says(UserTower::open("/dev/null", KAREC_NO_ONNXRUNTIME, 1).status(), Code::bad_format,
               "its OrtGetApiBase() gives NULL"));
}

TEST(a_user_by_raw_ids_needs_a_tower_and_nothing_beside_it) {
    BundleFolder folder;
    folder.publish(1);
    const auto ranker = Stages::open(folder.root(), StageSettings::read(folder.settings()).value());
    const std::vector<std::int64_t> candidates{0, 3, 6};
    const std::vector<float> vector(kBundleDim, 1.0f);
    UserState user;
    user.user_id = 5;
    Request request;
    request.candidates = candidates;
    request.user = &user;
    std::vector<float> scores(3);
    std::vector<std::int64_t> ids(3);
    std::vector<std::int32_t> rows(3);
    const Preranked out{scores, ids, rows};
    CHECK(says(ranker->run(request, out).status(), Code::unavailable, "needs a tower"));
    request.user_vector = vector;
    CHECK(says(ranker->run(request, out).status(), Code::invalid_argument, "give either a user by raw ids"));
    request.user = nullptr;
    CHECK(ranker->run(request, out).ok());
}

TEST(c_hosts_get_a_status_a_request_and_may_throw) {
    BundleFolder folder;
    folder.publish(1);
    karec_preranker_options options = KAREC_PRERANKER_OPTIONS_INIT;
    int heard = 0;
    options.context = &heard;
    options.on_step = [](void* context, const karec_step_metrics*) {
        ++*static_cast<int*>(context);
        throw std::runtime_error("metrics are full");
    };
    karec_preranker* ranker = nullptr;
    CHECK(karec_preranker_open(folder.root().c_str(), folder.settings().c_str(), &options, &ranker) == KAREC_OK);
    const auto ids = all_ids();
    std::vector<Answer> answers(3, Answer(20));
    karec_prerank_request requests[3];
    karec_preranked outs[3];
    karec_prerank_count counts[3];
    for (std::size_t i = 0; i < 3; ++i) {
        requests[i] = KAREC_PRERANK_REQUEST_INIT;
        requests[i].candidates = ids.data();
        requests[i].n_candidates = ids.size();
        requests[i].user_vector = kUser.data();
        requests[i].dim = kUser.size();
        requests[i].time_ms = kBundleNow;
        outs[i] = {sizeof outs[i], answers[i].scores.data(), answers[i].ids.data(), answers[i].rows.data(), 20};
        counts[i] = KAREC_PRERANK_COUNT_INIT;
    }
    const auto run = [&](karec_status* statuses, karec_parallel parallel, void* context) {
        return karec_preranker_run_batch(ranker, requests, outs, counts, statuses, 3, 1, parallel, context);
    };
    karec_status statuses[3] = {9, 9, 9};
    requests[1].dim = 7;
    CHECK(run(statuses, nullptr, nullptr) == KAREC_INVALID_ARGUMENT && heard == 16);
    CHECK(statuses[0] == KAREC_OK && statuses[1] == KAREC_INVALID_ARGUMENT && statuses[2] == KAREC_OK);
    CHECK(counts[0].found == 20 && counts[1].found == 0 && counts[2].found == 20);
    CHECK(run(statuses, half, &heard) == KAREC_UNAVAILABLE);
    CHECK(std::string(karec_last_error()) == "the executor threw: pool is gone");
    CHECK(statuses[0] == KAREC_OK && statuses[1] == KAREC_UNAVAILABLE && statuses[2] == KAREC_OK);
    requests[1].dim = 0;
    CHECK(run(statuses, nullptr, nullptr) == KAREC_INVALID_ARGUMENT && statuses[0] == KAREC_UNAVAILABLE);
    CHECK(std::string(karec_last_error()).find("user_vector has 0 values") != std::string::npos);
    CHECK(run(nullptr, nullptr, nullptr) == KAREC_INVALID_ARGUMENT);
    std::size_t n_specs = 9;
    CHECK(karec_preranker_tower_inputs(ranker, nullptr, 0, &n_specs) == KAREC_UNAVAILABLE && n_specs == 9);
    karec_preranker_close(ranker);
}

TEST(c_hosts_are_told_what_of_a_user_cannot_be_read) {
    BundleFolder folder;
    folder.publish(1);
    karec_preranker* ranker = nullptr;
    CHECK(karec_preranker_open(folder.root().c_str(), folder.settings().c_str(), nullptr, &ranker) == KAREC_OK);
    const auto works = all_ids();
    karec_prerank_request request = KAREC_PRERANK_REQUEST_INIT;
    request.candidates = works.data();
    request.n_candidates = works.size();
    karec_user user = KAREC_USER_INIT;
    request.user = &user;
    Answer answer(20);
    const karec_preranked out{sizeof out, answer.scores.data(), answer.ids.data(), answer.rows.data(), 20};
    karec_prerank_count count = KAREC_PRERANK_COUNT_INIT;
    const auto refused = [&](const std::string& words) {
        const bool found = karec_preranker_run(ranker, &request, &out, &count) == KAREC_INVALID_ARGUMENT &&
                           std::string(karec_last_error()).find(words) != std::string::npos;
        if (!found) std::fprintf(stderr, "got: %s\n", karec_last_error());
        user = KAREC_USER_INIT;
        return found;
    };
    user.struct_size = 8;
    CHECK(refused("request->user->struct_size is 8, expected sizeof"));
    const std::pair<size_t karec_user::*, std::string> lists[] = {{&karec_user::n_history, "history"},
                                                                  {&karec_user::n_skipped, "skipped"},
                                                                  {&karec_user::n_follows, "follows"},
                                                                  {&karec_user::n_friends, "friends"},
                                                                  {&karec_user::n_counters, "counter_names"}};
    for (const auto& [length, name] : lists) {
        user.*length = 2;
        CHECK(refused("user->" + name + " is NULL"));
    }
    user.history = works.data();
    user.n_history = SIZE_MAX;
    CHECK(refused("user->history has more entries"));
    const char* const names[] = {"count_exposed", nullptr};
    user.counter_names = names;
    user.n_counters = 2;
    CHECK(refused("user->counter_names is NULL"));
    karec_preranker_close(ranker);
}

TEST(metrics_tell_every_step) {
    BundleFolder folder;
    folder.publish(1);
    struct Heard {
        std::vector<std::string> steps;
        std::vector<std::size_t> sizes;
    } heard;
    StagesOptions options;
    options.context = &heard;
    options.on_step = [](void* context, const StepMetrics& step) noexcept {
        auto& to = *static_cast<Heard*>(context);
        to.steps.emplace_back(step.step);
        to.sizes.push_back(step.n_out);
    };
    const auto ranker = Stages::open(folder.root(), StageSettings::read(folder.settings()).value(), options);
    const auto ids = all_ids();
    Answer out(20);
    CHECK(ranker->run(request_of(ids), out.spans()).ok());
    CHECK((heard.steps == std::vector<std::string>{"index_rows", "has_embedding", "inner_product", "not_shown",
                                                   "freshness", "tone", "quota", "scattered"}));
    CHECK(heard.sizes[0] == 900 && heard.sizes[1] == 300 && heard.sizes[2] == 200 && heard.sizes.back() == 20);
}

// Not under ThreadSanitizer, which does not support fork() in a program with several threads; nor under
// AddressSanitizer: a child may wait forever for a lock of its allocator that another thread held.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
TEST(a_child_runs_and_reloads_though_another_thread_was_reloading) {
    BundleFolder folder;
    folder.publish(2);
    folder.publish(1);
    auto ranker = Stages::open(folder.root(), StageSettings::read(folder.settings()).value());
    const auto ids = all_ids();
    std::atomic<bool> over{false};
    std::atomic<int> reloads{0};
    std::thread other([&] {
        for (std::int64_t version = 2; !over; version = 3 - version) {
            folder.point_at(version);
            reloads += ranker->reload().ok() ? 1 : 0;
        }
    });
    while (reloads < 2) std::this_thread::yield();
    for (int round = 0; round < 20; ++round) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(20);
            Answer out(20);
            const bool ran = ranker->run(request_of(ids), out.spans()).ok();
            const bool again = ranker->reload().ok() && ranker->run(request_of(ids), out.spans()).ok();
            ::_exit(ran && again ? 0 : 1);
        }
        int status = 0;
        CHECK(::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    over = true;
    other.join();
}

TEST(user_tower_opens_in_a_child_forked_while_another_thread_opens_one) {
    void* library = ::dlopen(KAREC_SLOW_ONNXRUNTIME, RTLD_NOW);
    CHECK(library != nullptr);
    if (library == nullptr) return;
    const auto* is_asked = static_cast<const volatile int*>(::dlsym(library, "is_asked"));
    const auto is_refused = [] {
        const auto tower = UserTower::open("/dev/null", KAREC_SLOW_ONNXRUNTIME, 1);
        return tower.status().code() == Code::bad_format;
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

TEST(a_reload_that_fails_leaves_the_old_bundle_serving) {
    BundleFolder folder;
    folder.publish(1);
    auto ranker = Stages::open(folder.root(), StageSettings::read(folder.settings()).value());
    CHECK(!ranker->reload().value());
    folder.publish(2);
    write_file(folder.folder(2) + "/index.karec", "torn");
    CHECK(says(ranker->reload().status(), Code::bad_format, "has 4 bytes"));
    CHECK(ranker->model_version() == 1);
    folder.publish(3);
    CHECK(ranker->reload().value() && ranker->model_version() == 3);
    const auto ids = all_ids();
    Answer out(20);
    CHECK(ranker->run(request_of(ids), out.spans())->model_version == 3);
}
