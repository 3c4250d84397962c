// Stages: a shared pointer to the loaded bundle. reload() swaps it; a run copies it at its start.
#include "karec/stages.hpp"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <new>
#include <utility>

#include "base/at_fork.hpp"
#include "base/boundary.hpp"
#include "stages/loaded_bundle.hpp"
#include "stages/request_user.hpp"
#include "stages/stage_settings.hpp"
#include "stages/steps.hpp"

namespace karec {

struct Stages::State {
    std::string root;
    StageSettings settings;
    StagesOptions options;
    bool has_search = false;
    // Locked only while the pointer is copied; std::atomic<std::shared_ptr> has a lock too.
    mutable std::mutex swapping;
    std::shared_ptr<const LoadedBundle> loaded;
    std::mutex reloading;
    AtFork<State> at_fork{*this};

    void lock_for_fork() noexcept { swapping.lock(); }
    void unlock_after_fork(bool in_child) noexcept {
        swapping.unlock();
        // A fork does not wait for a reload, which takes long and opens indexes that AtFork lists. The child has no
        // thread that reloads.
        if (in_child) new (&reloading) std::mutex;
    }

    std::shared_ptr<const LoadedBundle> current() const noexcept {
        const std::scoped_lock lock(swapping);
        return loaded;
    }

    // Returns how many of the first steps run as one search by ids: 0 with several model versions, since only single
    // steps distinguish rows without a user vector from items without a row.
    std::size_t n_fused_steps(const RequestUser& user) const noexcept {
        const auto& steps = settings.steps;
        if (user.vector && !user.vector->by_version.empty()) return 0;
        if (steps.empty() || !std::holds_alternative<IndexRowsStep>(steps[0].settings)) return 0;
        const bool has_filter = steps.size() > 1 && std::holds_alternative<HasEmbeddingStep>(steps[1].settings);
        const std::size_t search = has_filter ? 2 : 1;
        const bool is_search =
            search < steps.size() && std::holds_alternative<InnerProductStep>(steps[search].settings);
        return is_search ? search + 1 : 0;
    }

    void report(std::size_t step, StepMetrics metrics, const LoadedBundle& bundle) const noexcept {
        metrics.stage = settings.steps[step].stage;
        metrics.step = settings.steps[step].name;
        metrics.model_version = bundle.bundle.model_version();
        options.on_step(options.context, metrics);
    }

    Status run_fused(std::size_t n_steps, StageRun& run) const {
        const auto start = std::chrono::steady_clock::now();
        const StageStep& search = settings.steps[n_steps - 1];
        const Status status = search_request(std::get<InnerProductStep>(search.settings), run);
        if (!status.ok()) return error_of(search, status);
        if (options.on_step == nullptr) return {};
        const std::size_t n = run.request.candidates.size();
        const std::size_t n_known = n_steps == 3 ? n - run.pool.n_unknown : n;
        report(0, {"", "", n, n, run.pool.n_unknown, 0, 0}, run.bundle);
        if (n_steps == 3) report(1, {"", "", n, n_known, 0, 0, 0}, run.bundle);
        report(n_steps - 1, {"", "", n_known, run.pool.size(), 0, elapsed(start), 0}, run.bundle);
        return {};
    }

    Status run_next(StageRun& run) const {
        const std::size_t n_in = run.pool.size();
        const auto start = std::chrono::steady_clock::now();
        const StageStep& step = settings.steps[run.step];
        const Status status = std::visit([&](const auto& own) { return run_step(own, run); }, step.settings);
        if (!status.ok()) return error_of(step, status);
        if (options.on_step == nullptr) return {};
        const StepMetrics metrics{"", "", n_in, run.pool.size(), run.pool.n_without_row(), elapsed(start), 0};
        report(run.step, metrics, run.bundle);
        return {};
    }

    static Status error_of(const StageStep& step, const Status& status) {
        return {status.code(), "step " + step.name + ": " + status.message()};
    }

    static std::uint64_t elapsed(std::chrono::steady_clock::time_point start) noexcept {
        const auto time = std::chrono::steady_clock::now() - start;
        return static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
    }

    Status run(const LoadedBundle& bundle, const Request& request, Page& page) const {
        const IndexView view = bundle.index.pinned();
        if (Status status = check_request(request, view); !status.ok()) return status;
        RequestUser user;
        Status status = user.prepare(request, settings.scene, has_search, bundle, view);
        if (!status.ok()) return status;
        StageRun run{view, request, bundle, user, {}};
        run.step = n_fused_steps(user);
        if (run.step > 0) {
            status = run_fused(run.step, run);
        } else {
            status = start_pool(run);
        }
        for (; status.ok() && run.step < settings.steps.size(); ++run.step) status = run_next(run);
        if (!status.ok()) return status;
        const std::size_t n = run.pool.size();
        page.ids.reserve(n);  // all memory first: a failure leaves the page as it was
        page.scores.reserve(n);
        page.rows.reserve(n);
        page.ids.assign(run.pool.ids.begin(), run.pool.ids.end());
        page.scores.assign(run.pool.scores.begin(), run.pool.scores.end());
        page.rows.assign(run.pool.rows.begin(), run.pool.rows.end());
        page.n_unknown = run.pool.n_unknown;
        page.n_blocked = run.pool.n_blocked;
        page.n_broken_rules = run.n_broken_rules;
        page.generation = view.generation();
        page.model_version = bundle.bundle.model_version();
        return {};
    }

    // The candidates of the request. Stages without index_rows, such as only rerank, get their rows here.
    Status start_pool(StageRun& run) const {
        const Request& request = run.request;
        run.pool.ids.assign(request.candidates.begin(), request.candidates.end());
        run.pool.rows.assign(request.candidates.size(), kUnknownRow);
        run.pool.scores.assign(request.candidates.size(), 0.0f);
        std::ranges::copy(request.scores, run.pool.scores.begin());
        return settings.has_step<IndexRowsStep>() ? Status() : run.view.lookup(run.pool.ids, run.pool.rows);
    }
};

Stages::Stages(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

Result<Stages> Stages::open(const std::string& root, const std::string& settings,
                            const StagesOptions& options) noexcept {
    return at_boundary([&]() -> Result<Stages> {
        auto read = StageSettings::read(settings);
        if (!read.ok()) return read.status();
        auto loaded = load_bundle(root, read.value(), options);
        if (!loaded.ok()) return loaded.status();
        auto state = std::make_shared<State>();
        state->root = root;
        state->settings = std::move(read.value());
        state->options = options;
        state->has_search = state->settings.has_step<InnerProductStep>();
        state->loaded = std::move(loaded.value());
        return Stages(std::move(state));
    });
}

Status Stages::run(const Request& request, Page& page) const noexcept {
    return at_boundary([&] { return state_->run(*state_->current(), request, page); });
}

Result<bool> Stages::reload() noexcept {
    return at_boundary([&]() -> Result<bool> {
        const std::scoped_lock one_at_a_time(state_->reloading);
        auto folder = current_bundle(state_->root);
        if (!folder.ok()) return folder.status();
        if (folder.value() == state_->current()->bundle.path()) return false;
        auto loaded = load_bundle(folder.value(), state_->settings, state_->options);
        if (!loaded.ok()) return loaded.status();
        const std::scoped_lock lock(state_->swapping);
        state_->loaded.swap(loaded.value());  // the old one is released after the lock, or by its last run
        return true;
    });
}

std::int64_t Stages::model_version() const noexcept {
    return state_->current()->bundle.model_version();
}
ItemIndex Stages::index() const noexcept {
    return state_->current()->index;
}

}  // namespace karec
