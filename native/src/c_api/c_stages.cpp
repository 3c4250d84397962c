// The C interface of Stages.
#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/scratch.hpp"
#include "c_api/arguments.hpp"
#include "c_api/query_argument.hpp"
#include "karec/stages.hpp"

namespace karec::c {
namespace {

// The target of on_step. Outlives the stages; its address does not change.
struct StepCallback {
    void (*on_step)(void*, const karec_step_metrics*) = nullptr;
    void* context = nullptr;

    static void run(void* callback, const StepMetrics& step) noexcept {
        const auto& self = *static_cast<const StepCallback*>(callback);
        const char* const stage = step.stage.data();  // of a std::string of the settings, which ends with 0
        const char* const name = step.step.data();
        const karec_step_metrics metrics{
            sizeof metrics, stage, name, step.n_in, step.n_out, step.n_unknown, step.nanoseconds, step.model_version};
        try {
            self.on_step(self.context, &metrics);
        } catch (...) {  // NOLINT(bugprone-empty-catch): karec.h documents it
        }
    }
};

}  // namespace
}  // namespace karec::c

struct karec_stages {
    std::unique_ptr<karec::c::StepCallback> callback;
    karec::Stages stages;
};

namespace karec::c {
namespace {

const Stages& to_stages(const karec_stages* stages) {
    return require(stages, "stages").stages;
}

// A user, and the names that it points to.
class UserArgument {
  public:
    explicit UserArgument(const karec_user* given) {
        const karec_user user = read_struct(given, "request->user");
        state_.user_id = user.user_id;
        state_.history = to_list(user.history, user.n_history, "user->history");
        state_.skipped = to_list(user.skipped, user.n_skipped, "user->skipped");
        state_.follows = to_list(user.follows, user.n_follows, "user->follows");
        state_.friends = to_list(user.friends, user.n_friends, "user->friends");
        for (const char* const name : to_span(user.counter_names, user.n_counters, "user->counter_names")) {
            names_.emplace_back(&require(name, "user->counter_names"));
        }
        state_.counter_names = names_;
        if (user.counters != nullptr) state_.counters = to_span(user.counters, user.n_counters, "user->counters");
        if (user.scene_counters == nullptr) return;
        state_.scene_counters = to_span(user.scene_counters, user.n_counters, "user->scene_counters");
    }

    const UserState& state() const noexcept { return state_; }

  private:
    static std::optional<std::span<const std::int64_t>> to_list(const std::int64_t* ids, std::size_t n,
                                                                const char* name) {
        if (ids == nullptr && n == 0) return std::nullopt;
        return to_span(ids, n, name);
    }

    UserState state_;
    ScratchVector<std::string_view> names_;
};

// A request and its memory. Not copied: `request` points into this object.
struct RequestArgument {
    Request request;

    explicit RequestArgument(const karec_request* argument) {
        const karec_request given = read_struct(argument, "request");
        request.candidates = to_span(given.candidates, given.n_candidates, "request->candidates");
        if (given.scores != nullptr) request.scores = to_span(given.scores, given.n_candidates, "request->scores");
        if (given.user_vector != nullptr) {
            request.user_vector = query_.emplace(given.user_vector, "request->user_vector").get();
        }
        request.time_ms = given.time_ms;
        request.shown = to_span(given.shown, given.n_shown, "request->shown");
        request.k = given.k;
        if (given.user != nullptr) request.user = &user_.emplace(given.user).state();
    }
    RequestArgument(const RequestArgument&) = delete;
    RequestArgument& operator=(const RequestArgument&) = delete;

  private:
    std::optional<UserArgument> user_;
    std::optional<QueryArgument> query_;
};

karec_page read_page(const karec_page* given) {
    karec_page page = read_struct(given, "page");
    to_span(page.ids, page.capacity, "page->ids");
    to_span(page.scores, page.capacity, "page->scores");
    to_span(page.rows, page.capacity, "page->rows");
    return page;
}

// Copies `page` to the members of `output` and to its arrays.
void copy_page(const Page& page, karec_page& output) {
    if (output.capacity < page.ids.size()) {
        refuse("page->capacity is " + std::to_string(output.capacity) + ", the page has " +
               std::to_string(page.ids.size()) + " items");
    }
    output.n_items = page.ids.size();
    output.n_unknown = page.n_unknown;
    output.n_blocked = page.n_blocked;
    output.n_broken_rules = page.n_broken_rules;
    output.generation = page.generation;
    output.model_version = page.model_version;
    std::ranges::copy(page.ids, output.ids);
    std::ranges::copy(page.scores, output.scores);
    std::ranges::copy(page.rows, output.rows);
}

}  // namespace
}  // namespace karec::c

using namespace karec;
using namespace karec::c;

karec_status karec_stages_open(const char* root, const char* settings, const karec_stages_options* options,
                               karec_stages** stages) {
    return catch_errors([&] {
        require(stages, "stages");
        const std::string folder = to_path(root, "root");
        const std::string file = to_path(settings, "settings");
        const karec_stages_options given = read_struct_or(KAREC_STAGES_OPTIONS_INIT, options, "options");
        auto callback = std::make_unique<StepCallback>(StepCallback{given.on_step, given.context});
        StagesOptions stages_options;
        stages_options.verify = given.trust == 0;
        stages_options.onnxruntime = given.onnxruntime == nullptr ? "" : given.onnxruntime;
        if (given.on_step != nullptr) {
            stages_options.on_step = StepCallback::run;
            stages_options.context = callback.get();
        }
        auto opened = Stages::open(folder, file, stages_options);
        if (opened.ok()) *stages = new karec_stages{std::move(callback), std::move(opened.value())};
        return opened.status();
    });
}

void karec_stages_close(karec_stages* stages) {
    delete stages;
}

karec_status karec_stages_run(const karec_stages* stages, const karec_request* request, karec_page* page) {
    return catch_errors([&] {
        const Stages& runner = to_stages(stages);
        const RequestArgument argument(request);
        karec_page output = read_page(page);
        Page result;
        const Status status = runner.run(argument.request, result);
        if (!status.ok()) return status;
        copy_page(result, output);
        write_struct(page, output);
        return status;
    });
}

karec_status karec_stages_reload(karec_stages* stages, int32_t* reloaded) {
    return catch_errors([&] {
        const auto is_reloaded = require(stages, "stages").stages.reload();
        if (is_reloaded.ok() && reloaded != nullptr) *reloaded = is_reloaded.value() ? 1 : 0;
        return is_reloaded.status();
    });
}

karec_status karec_stages_model_version(const karec_stages* stages, int64_t* model_version) {
    return catch_errors([&]() -> Status {
        const Stages& runner = to_stages(stages);
        require(model_version, "model_version") = runner.model_version();
        return {};
    });
}

karec_status karec_stages_index(const karec_stages* stages, karec_index** index) {
    return catch_errors([&]() -> Status {
        const Stages& runner = to_stages(stages);
        require(index, "index");
        *index = new karec_index{runner.index()};
        return {};
    });
}
