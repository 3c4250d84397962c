// Stages for hosts: the library of ONNX Runtime, metrics, reloads, forks; the C interface.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstddef>
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

namespace {

// The output of a C request, with arrays of 20 items.
struct CPage {
    Page arrays{std::vector<std::int64_t>(20), std::vector<float>(20), std::vector<std::int32_t>(20)};
    karec_page page = KAREC_PAGE_INIT;

    CPage() {
        page.ids = arrays.ids.data();
        page.scores = arrays.scores.data();
        page.rows = arrays.rows.data();
        page.capacity = 20;
    }
    bool operator==(const Page& other) const {
        return arrays.ids == other.ids && arrays.scores == other.scores && arrays.rows == other.rows;
    }
};

karec_query query_of(const std::vector<float>& values) {
    karec_query query = KAREC_QUERY_INIT;
    query.values = values.data();
    query.dim = values.size();
    return query;
}

// A request of all ids with the user vector `query`.
karec_request request_of(const std::vector<std::int64_t>& ids, const karec_query& query) {
    karec_request request = KAREC_REQUEST_INIT;
    request.candidates = ids.data();
    request.n_candidates = ids.size();
    request.user_vector = &query;
    request.time_ms = kBundleNow;
    return request;
}

}  // namespace

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
    const karec_query query = query_of(kUser);
    const karec_request request = request_of(ids, query);
    CPage output;
    output.page.capacity = 19;
    CHECK(karec_stages_run(stages, &request, &output.page) == KAREC_INVALID_ARGUMENT && output.page.n_items == 0);
    CHECK(std::string(karec_last_error()) == "page->capacity is 19, the page has 20 items" && n_calls == 8);
    output.page.capacity = 20;
    CHECK(karec_stages_run(stages, &request, &output.page) == KAREC_OK && output == expected);
    CHECK(output.page.n_items == 20 && output.page.n_unknown == 600);
    karec_stages_close(stages);
}

// The bundle has the code columns "tag" (i % 20 of item i) and "song".
TEST(c_host_scores_wide_towers_by_its_own_vector_and_tables) {
    BundleFolder folder;
    folder.publish(1, true);
    karec_stages* stages = nullptr;
    CHECK(karec_stages_open(folder.root().c_str(), folder.settings().c_str(), nullptr, &stages) == KAREC_OK);
    const auto ids = all_ids();
    std::vector<std::uint32_t> codes = {2, 3, 5};
    std::vector<float> values = {2.0f, -1.0f, 0.5f};
    karec_code_table tables[4] = {KAREC_CODE_TABLE_INIT, KAREC_CODE_TABLE_INIT, KAREC_CODE_TABLE_INIT,
                                  KAREC_CODE_TABLE_INIT};
    tables[0] = tables[3] = {sizeof(karec_code_table), codes.data(), values.data(), codes.size(), 0.25f};
    karec_query query = query_of(kUser);
    query.tables = tables;
    query.n_tables = 2;

    const CodeTable cpp_tables[] = {{codes, values, 0.25f}, {}};
    Request cpp_request = request_of(ids);
    Page expected;
    cpp_request.user_vector.emplace(kUser, cpp_tables);
    CHECK(open_stages(folder)->run(cpp_request, expected).ok());
    const auto run = [&](const karec_query& given) {
        const karec_request request = request_of(ids, given);
        CPage output;
        CHECK(karec_stages_run(stages, &request, &output.page) == KAREC_OK);
        return output;
    };
    CHECK(run(query) == expected && expected.ids.size() == 20);
    const std::int64_t versions[] = {1, 2};
    std::vector<float> two_vectors = kUser;
    two_vectors.insert(two_vectors.end(), kUser.begin(), kUser.end());
    karec_query by_version = query_of(two_vectors);
    by_version.dim = kUser.size();
    by_version.model_versions = versions;
    by_version.n_versions = 2;
    by_version.tables = tables;
    by_version.n_tables = 2;
    CHECK(run(by_version) == expected);
    const std::int64_t swapped[] = {2, 1};  // version 1, that of all rows, has the second tables
    by_version.model_versions = swapped;
    CHECK(!(run(by_version) == expected));

    const auto is_refused = [&](const karec_query& given, const std::string& message) {
        const karec_request request = request_of(ids, given);
        CPage output;
        const bool is_expected = karec_stages_run(stages, &request, &output.page) == KAREC_INVALID_ARGUMENT &&
                                 output.page.n_items == 0 &&
                                 std::string(karec_last_error()).find(message) != std::string::npos;
        if (!is_expected) std::fprintf(stderr, "got: %s\n", karec_last_error());
        return is_expected;
    };
    const auto with = [](karec_query changed, auto member, auto value) {
        changed.*member = value;
        return changed;
    };
    CHECK(is_refused(with(query, &karec_query::struct_size, 8), "request->user_vector->struct_size is 8"));
    CHECK(is_refused(with(query, &karec_query::values, nullptr), "query->values is NULL"));
    CHECK(is_refused(with(query, &karec_query::dim, 0), "user_vector has 0 values, expected 8"));
    CHECK(is_refused(with(query, &karec_query::dim, 7), "user_vector has 7 values, expected 8"));
    CHECK(is_refused(with(by_version, &karec_query::dim, 7), "user_vector of model version 2 has 7 values"));
    CHECK(is_refused(with(by_version, &karec_query::dim, SIZE_MAX), "more values than memory has"));
    CHECK(is_refused(with(by_version, &karec_query::model_versions, nullptr), "query->model_versions is NULL"));
    CHECK(is_refused(with(query, &karec_query::tables, nullptr), "query->tables is NULL"));
    for (const karec_query& given : {query, by_version}) {
        CHECK(is_refused(with(given, &karec_query::n_tables, 0), "user_vector has no tables for the code columns"));
        CHECK(is_refused(with(given, &karec_query::n_tables, 1), "has 1 tables, the index has 2 code columns"));
    }
    CHECK(is_refused(with(query, &karec_query::n_tables, 3), "has 3 tables, the index has 2 code columns"));
    values[1] = std::nanf("");
    CHECK(is_refused(query, "table 'tag': values holds NaN"));
    values[1] = 0.0f;
    codes[1] = 2;
    CHECK(is_refused(query, "expected ascending codes without repetition"));
    codes[1] = 3;
    tables[1].other = std::nanf("");
    CHECK(is_refused(query, "table 'song': other holds NaN"));
    tables[1].n = 1;
    CHECK(is_refused(query, "query->tables->codes is NULL"));
    karec_stages_close(stages);
}

TEST(c_host_cannot_give_tables_to_a_bundle_that_is_not_wide) {
    BundleFolder folder;
    folder.publish(1);
    karec_stages* stages = nullptr;
    CHECK(karec_stages_open(folder.root().c_str(), folder.settings().c_str(), nullptr, &stages) == KAREC_OK);
    const auto ids = all_ids();
    const karec_code_table table = KAREC_CODE_TABLE_INIT;
    karec_query query = query_of(kUser);
    query.tables = &table;
    query.n_tables = 1;
    const karec_request request = request_of(ids, query);
    CPage output;
    CHECK(karec_stages_run(stages, &request, &output.page) == KAREC_INVALID_ARGUMENT && output.page.n_items == 0);
    CHECK(std::string(karec_last_error()).find("has 1 tables, the index has 0 code columns") != std::string::npos);
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
