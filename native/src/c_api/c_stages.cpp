// The C interface of Stages.
#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/scratch.hpp"
#include "c_api/arguments.hpp"
#include "karec/stages.hpp"

namespace karec::c {
namespace {

// The target of a ranker's on_step. Outlives the ranker; its address does not change.
struct Listener {
    void (*on_step)(void*, const karec_step_metrics*) = nullptr;
    void* context = nullptr;

    static void hear(void* listener, const StepMetrics& step) noexcept {
        const auto& self = *static_cast<const Listener*>(listener);
        const char* const name = step.step.data();  // of a std::string
        const karec_step_metrics metrics{
            sizeof metrics, name, step.n_in, step.n_out, step.n_unknown, step.nanoseconds, step.model_version};
        try {
            self.on_step(self.context, &metrics);
        } catch (...) {  // NOLINT(bugprone-empty-catch): metrics are no reason to fail a request, as karec.h says
        }
    }
};

}  // namespace
}  // namespace karec::c

struct karec_preranker {
    std::unique_ptr<karec::c::Listener> listener;
    karec::Stages ranker;
};

namespace karec::c {
namespace {

const Stages& ranker_of(const karec_preranker* preranker) {
    return require(preranker, "preranker").ranker;
}

// A user, and the names that it points to.
class User {
  public:
    User(const karec_user* given, const char* name) {
        const karec_user told = read_struct(given, name);
        state_.user_id = told.user_id;
        state_.history = list(told.history, told.n_history, "user->history");
        state_.skipped = list(told.skipped, told.n_skipped, "user->skipped");
        state_.follows = list(told.follows, told.n_follows, "user->follows");
        state_.friends = list(told.friends, told.n_friends, "user->friends");
        for (const char* const each : to_span(told.counter_names, told.n_counters, "user->counter_names")) {
            names_.emplace_back(&require(each, "user->counter_names"));
        }
        state_.counter_names = {names_.data(), names_.size()};
        if (told.counters != nullptr) state_.counters = to_span(told.counters, told.n_counters, "user->counters");
        if (told.scene_counters == nullptr) return;
        state_.scene_counters = to_span(told.scene_counters, told.n_counters, "user->scene_counters");
    }
    User(User&&) noexcept = default;  // the names lie in memory that moves with it
    User& operator=(User&&) = delete;
    User(const User&) = delete;
    User& operator=(const User&) = delete;
    ~User() = default;

    const UserState& state() const noexcept { return state_; }

  private:
    static std::optional<std::span<const std::int64_t>> list(const std::int64_t* ids, std::size_t n, const char* name) {
        if (ids == nullptr && n == 0) return std::nullopt;
        return to_span(ids, n, name);
    }

    UserState state_;
    ScratchVector<std::string_view> names_;
};

// A request, and the user and the tensors that it points to.
class RequestArguments {
  public:
    RequestArguments(const karec_prerank_request* given, const char* name) {
        const karec_prerank_request told = read_struct(given, name);
        request_.candidates = to_span(told.candidates, told.n_candidates, "request->candidates");
        if (told.recall_scores != nullptr) {
            request_.recall_scores = to_span(told.recall_scores, told.n_candidates, "request->recall_scores");
        }
        if (told.user_vector == nullptr && told.n_versions != 0) refuse("request->user_vector is NULL");
        if (told.user_vector != nullptr) {
            if (told.dim == 0) refuse("request->user_vector has 0 values: request->dim is not set");
            if (told.n_versions == 0) {
                request_.user_vector = to_span(told.user_vector, told.dim, "request->user_vector");
            } else {
                by_version(told);
            }
        }
        check_struct_count(told.user_inputs, told.n_user_inputs, "request->user_inputs");
        for (std::size_t i = 0; i < told.n_user_inputs; ++i) {
            const karec_tensor tensor = read_nth_struct(told.user_inputs, i, "request->user_inputs");
            tensors_.push_back({&require(tensor.name, "user_inputs->name"),
                                to_dtype(tensor.dtype, "user_inputs->dtype"),
                                to_span(tensor.shape, tensor.rank, "user_inputs->shape"), tensor.data});
        }
        request_.time_ms = told.time_ms;
        request_.shown = to_span(told.shown, told.n_shown, "request->shown");
        request_.k = told.k;
        if (told.user == nullptr) return;
        user_.emplace(told.user, "request->user");
    }
    // Valid while this object stays where it is.
    Request get() const noexcept {
        Request request = request_;
        request.user_inputs = {tensors_.data(), tensors_.size()};
        request.user_vectors = {users_.data(), users_.size()};
        request.user = user_ ? &user_->state() : nullptr;
        return request;
    }

  private:
    void by_version(const karec_prerank_request& told) {
        const auto versions = to_span(told.model_versions, told.n_versions, "request->model_versions");
        std::size_t total = 0;
        if (__builtin_mul_overflow(told.n_versions, told.dim, &total))
            refuse("request has more values than memory has");
        const auto values = to_span(told.user_vector, total, "request->user_vector");
        for (std::size_t v = 0; v < versions.size(); ++v) {
            users_.push_back({versions[v], values.subspan(v * told.dim, told.dim)});
        }
    }

    Request request_;
    std::optional<User> user_;
    ScratchVector<Tensor> tensors_;
    ScratchVector<VersionQuery> users_;
};

Preranked to_preranked(const karec_preranked& out) {
    return {to_span(out.scores, out.n, "out->scores"), to_span(out.ids, out.n, "out->ids"),
            to_span(out.rows, out.n, "out->rows")};
}

karec_tensor_spec to_tensor_spec(const TensorSpec& input) {
    karec_tensor_spec spec{};
    if (input.name.size() >= sizeof spec.name || input.shape.size() > std::size(spec.shape)) {
        throw ArgumentError({Code::unavailable, "input '" + input.name + "' has too long a name, or too many axes"});
    }
    spec.rank = input.shape.size();
    std::ranges::copy(input.shape, spec.shape);
    std::ranges::copy(input.name, spec.name);
    spec.dtype = static_cast<karec_dtype>(input.dtype);
    return spec;
}

karec_prerank_count to_c_count(const PrerankCount& count) noexcept {
    return {0, count.found, count.unknown, count.blocked, count.generation, count.model_version};
}

}  // namespace
}  // namespace karec::c

using namespace karec;
using namespace karec::c;

karec_status karec_preranker_open(const char* root, const char* settings, const karec_preranker_options* options,
                                  karec_preranker** preranker) {
    return catch_errors([&]() -> Status {
        require(preranker, "preranker");
        const std::string folder = to_path(root, "root");
        const auto given = read_struct_or<karec_preranker_options>(KAREC_PRERANKER_OPTIONS_INIT, options, "options");
        auto read = StageSettings::read(to_path(settings, "settings"));
        if (!read.ok()) return read.status();
        auto listener = std::make_unique<Listener>(Listener{given.on_step, given.context});
        StagesOptions told;
        told.verify = given.trust == 0;
        told.onnxruntime = given.onnxruntime == nullptr ? "" : given.onnxruntime;
        told.tower_threads = given.tower_threads == 0 ? 1 : given.tower_threads;
        if (given.on_step != nullptr) {
            told.on_step = Listener::hear;
            told.context = listener.get();
        }
        auto opened = Stages::open(folder, read.value(), told);
        if (opened.ok()) *preranker = new karec_preranker{std::move(listener), std::move(opened.value())};
        return opened.status();
    });
}

void karec_preranker_close(karec_preranker* preranker) {
    delete preranker;
}

karec_status karec_preranker_most(const karec_preranker* preranker, const karec_prerank_request* request,
                                  size_t* most) {
    return catch_errors([&]() -> Status {
        const Stages& ranker = ranker_of(preranker);
        const RequestArguments asked(request, "request");
        require(most, "most") = ranker.most(asked.get());
        return {};
    });
}

karec_status karec_preranker_run(const karec_preranker* preranker, const karec_prerank_request* request,
                                 const karec_preranked* out, karec_prerank_count* count) {
    return catch_errors([&] {
        const Stages& ranker = ranker_of(preranker);
        const RequestArguments asked(request, "request");
        const Preranked to = to_preranked(read_struct(out, "out"));
        check_size(count, "count");
        auto counted = ranker.run(asked.get(), to);
        if (counted.ok()) write_struct(count, to_c_count(counted.value()));
        return counted.status();
    });
}

karec_status karec_preranker_run_batch(const karec_preranker* preranker, const karec_prerank_request* requests,
                                       const karec_preranked* outs, karec_prerank_count* counts, karec_status* statuses,
                                       size_t n, size_t n_threads, karec_parallel parallel, void* context) {
    return catch_errors([&] {
        const Stages& ranker = ranker_of(preranker);
        check_struct_count(requests, n, "requests");
        check_struct_count(outs, n, "outs");
        const std::span<karec_status> said = to_span(statuses, n, "statuses");
        std::ranges::fill(said, KAREC_UNAVAILABLE);  // none has run
        std::vector<RequestArguments> asked;
        std::vector<Request> each;
        std::vector<Preranked> to;
        each.reserve(n);
        for (std::size_t i = 0; i < n; ++i) {
            read_nth_struct(requests, i, "requests");
            asked.emplace_back(nth_struct(requests, i), "requests");
            to.push_back(to_preranked(read_nth_struct(outs, i, "outs")));
        }
        check_output_structs(counts, n, "counts");
        for (const RequestArguments& request : asked) each.push_back(request.get());
        std::vector<PrerankCount> counted(n);
        const Executor executor =
            parallel != nullptr ? Executor{parallel, context} : Executor::threads(std::max<std::size_t>(n_threads, 1));
        std::vector<Status> statuses_of(n);
        Status status = ranker.run_batch(each, to, counted, statuses_of, executor);
        for (std::size_t i = 0; i < n; ++i) {
            said[i] = static_cast<karec_status>(statuses_of[i].code());
            if (statuses_of[i].ok()) write_struct(nth_struct(counts, i), to_c_count(counted[i]));
        }
        return status;
    });
}

karec_status karec_preranker_reload(karec_preranker* preranker, int32_t* reloaded) {
    return catch_errors([&] {
        auto another = require(preranker, "preranker").ranker.reload();
        if (another.ok() && reloaded != nullptr) *reloaded = another.value() ? 1 : 0;
        return another.status();
    });
}

karec_status karec_preranker_model_version(const karec_preranker* preranker, int64_t* model_version) {
    return catch_errors([&]() -> Status {
        const Stages& ranker = ranker_of(preranker);
        require(model_version, "model_version") = ranker.model_version();
        return {};
    });
}

karec_status karec_preranker_tower_inputs(const karec_preranker* preranker, karec_tensor_spec* specs, size_t max_specs,
                                          size_t* n_specs) {
    return catch_errors([&]() -> Status {
        const auto tower = ranker_of(preranker).user_tower();
        check_output_structs(specs, max_specs, "specs");
        require(n_specs, "n_specs");
        if (tower == nullptr) return {Code::unavailable, "the preranker was opened without a user tower"};
        std::vector<karec_tensor_spec> found;
        for (const TensorSpec& input : tower->inputs()) found.push_back(to_tensor_spec(input));
        for (std::size_t i = 0; i < std::min(found.size(), max_specs); ++i)
            write_struct(nth_struct(specs, i), found[i]);
        *n_specs = found.size();
        return {};
    });
}

karec_status karec_preranker_index(const karec_preranker* preranker, karec_index** index) {
    return catch_errors([&]() -> Status {
        const Stages& ranker = ranker_of(preranker);
        require(index, "index");
        *index = new karec_index{ranker.index()};
        return {};
    });
}
