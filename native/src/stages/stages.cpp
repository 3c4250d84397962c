// Stages: a shared pointer to the loaded bundle. reload() swaps it; each run keeps the one that it began with.
#include "karec/stages.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "base/at_fork.hpp"
#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "stages/loaded_bundle.hpp"
#include "stages/steps.hpp"

namespace karec {
namespace {

// Runs all tasks. An exception of the host's executor becomes `unavailable`.
Status run_all(const Executor& executor, std::size_t n, void (*task)(void*, std::size_t), void* data) {
    if (executor.run == nullptr) {
        for (std::size_t i = 0; i < n; ++i) task(data, i);
        return {};
    }
    try {
        executor.run(executor.context, n, task, data);
    } catch (const std::exception& thrown) {
        return {Code::unavailable, "the executor threw: " + std::string(thrown.what())};
    } catch (...) {
        return {Code::unavailable, "the executor threw something that is no std::exception"};
    }
    return {};
}

}  // namespace

struct Stages::State {
    std::string root;
    StageSettings settings;
    StagesOptions options;
    // Held only while the pointer is copied; std::atomic<std::shared_ptr> would lock as well.
    mutable std::mutex swapping;
    std::shared_ptr<const LoadedBundle> loaded;
    std::mutex reloading;
    AtFork<State> at_fork{*this};

    void lock_for_fork() noexcept { swapping.lock(); }
    void unlock_after_fork(bool in_child) noexcept {
        swapping.unlock();
        // A reload takes long, and opens indexes, which come into the list of AtFork: a fork does not wait for it. Of
        // one that another thread has begun, the child knows nothing.
        if (in_child) new (&reloading) std::mutex;
    }

    std::shared_ptr<const LoadedBundle> now() const noexcept {
        const std::scoped_lock lock(swapping);
        return loaded;
    }

    // How many steps from `at` on can run as one search by ids; 0 = none.
    std::size_t fused(std::size_t at) const noexcept {
        const auto& steps = settings.steps;
        if (at != 0 || steps.empty() || !std::holds_alternative<IndexRowsStep>(steps[0].what)) return 0;
        const std::size_t search = steps.size() > 1 && std::holds_alternative<HasEmbeddingStep>(steps[1].what) ? 2 : 1;
        return search < steps.size() && std::holds_alternative<InnerProductStep>(steps[search].what) ? search + 1 : 0;
    }

    void tell(const StageStep& step, StepMetrics metrics, const LoadedBundle& on) const noexcept {
        metrics.step = step.name;
        metrics.model_version = on.bundle.model_version();
        options.on_step(options.context, metrics);
    }

    Status run_fused(std::size_t n_steps, StageRun& run, const LoadedBundle& on) const {
        const auto& steps = settings.steps;
        const auto start = std::chrono::steady_clock::now();
        Status status = search_request(std::get<InnerProductStep>(steps[n_steps - 1].what), run);
        if (!status.ok() || options.on_step == nullptr) return status;
        const std::size_t n = run.request.candidates.size();
        const std::size_t known = n - run.pool.unknown;
        tell(steps[0], {"", n, n, run.pool.unknown, 0, 0}, on);
        if (n_steps == 3) tell(steps[1], {"", n, known, 0, 0, 0}, on);
        const auto spent = std::chrono::steady_clock::now() - start;
        const auto ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(spent).count());
        tell(steps[n_steps - 1], {"", n_steps == 3 ? known : n, run.pool.size(), 0, ns, 0}, on);
        return {};
    }

    Status run_one(const StageStep& step, StageRun& run, const LoadedBundle& on) const {
        const std::size_t n_in = run.pool.size();
        const auto start = std::chrono::steady_clock::now();
        Status status = std::visit([&](const auto& what) { return run_step(what, run); }, step.what);
        if (!status.ok() || options.on_step == nullptr) return status;
        const auto spent = std::chrono::steady_clock::now() - start;
        const auto ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(spent).count());
        tell(step, {"", n_in, run.pool.size(), run.pool.n_unknown(), ns, 0}, on);
        return {};
    }

    Result<PrerankCount> run(const LoadedBundle& on, const Request& request, const Preranked& out) const {
        const IndexView view = on.index.pinned();
        if (Status status = check_request(request, view); !status.ok()) return status;
        Status status = check_lengths("out.scores", out.scores.size(), "out.ids", out.ids.size());
        if (!status.ok()) return status;
        status = check_lengths("out.scores", out.scores.size(), "out.rows", out.rows.size());
        if (!status.ok()) return status;
        UserQuery user;
        if (status = user.prepare(request, settings.scene, on, view); !status.ok()) return status;
        StageRun run{view, request, user.query, on.bundle.model_version(), on.maps, {}};
        // Step by step where rows meet the vector of their version: only then metrics tell a row without a vector from
        // a work without a row.
        std::size_t next = user.query && !user.query->by_version.empty() ? 0 : fused(0);
        if (next > 0) {
            if (status = run_fused(next, run, on); !status.ok()) return status;
        } else {
            const std::size_t n = request.candidates.size();
            run.pool.ids.assign(request.candidates.begin(), request.candidates.end());
            run.pool.rows.assign(n, kUnknownRow);
            run.pool.scores.assign(n, 0.0f);
            std::ranges::copy(request.recall_scores, run.pool.scores.begin());
        }
        for (; next < settings.steps.size(); ++next) {
            run.step = next;
            status = run_one(settings.steps[next], run, on);
            if (!status.ok()) {
                return Status{status.code(), "step " + settings.steps[next].name + ": " + status.message()};
            }
        }
        const std::size_t found = run.pool.size();
        if (found > out.scores.size()) {
            return Status::invalid("out has " + std::to_string(out.scores.size()) + " entries, the steps left " +
                                   std::to_string(found));
        }
        std::ranges::copy(run.pool.scores, out.scores.begin());
        std::ranges::copy(run.pool.ids, out.ids.begin());
        std::ranges::copy(run.pool.rows, out.rows.begin());
        return PrerankCount{found, run.pool.unknown, run.pool.blocked, view.generation(), on.bundle.model_version()};
    }
};

Stages::Stages(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

Result<Stages> Stages::open(const std::string& root, const StageSettings& settings,
                            const StagesOptions& options) noexcept {
    return at_boundary([&]() -> Result<Stages> {
        if (options.tower_threads < 1) return Status::invalid("tower_threads must be positive");
        auto loaded = load_bundle(root, settings, options);
        if (!loaded.ok()) return loaded.status();
        auto state = std::make_shared<State>();
        state->root = root;
        state->settings = settings;
        state->options = options;
        state->loaded = std::move(loaded.value());
        return Stages(std::move(state));
    });
}

Result<PrerankCount> Stages::run(const Request& request, const Preranked& out) const noexcept {
    return at_boundary([&] { return state_->run(*state_->now(), request, out); });
}

std::size_t Stages::most(const Request& request) const noexcept {
    std::size_t most = request.candidates.size();
    for (const StageStep& step : state_->settings.steps) {
        if (const auto* search = std::get_if<InnerProductStep>(&step.what)) most = std::min(most, search->k);
        if (const auto* dpp = std::get_if<DppStep>(&step.what)) most = std::min(most, dpp->k.value_or(request.k));
    }
    return most;
}

Status Stages::run_batch(std::span<const Request> requests, std::span<const Preranked> outs,
                         std::span<PrerankCount> counts, std::span<Status> statuses,
                         const Executor& executor) const noexcept {
    return at_boundary([&]() -> Status {
        const std::size_t n = requests.size();
        Status status = check_lengths("requests", n, "outs", outs.size());
        if (!status.ok()) return status;
        if (status = check_lengths("requests", n, "counts", counts.size()); !status.ok()) return status;
        if (status = check_lengths("requests", n, "statuses", statuses.size()); !status.ok()) return status;
        std::ranges::fill(statuses, Status{Code::unavailable, "did not run"});
        struct Work {
            const State& state;
            std::shared_ptr<const LoadedBundle> on;
            std::span<const Request> requests;
            std::span<const Preranked> outs;
            std::span<PrerankCount> counts;
            std::span<Status> statuses;
        } work{*state_, state_->now(), requests, outs, counts, statuses};
        const auto task = [](void* data, std::size_t i) noexcept {
            auto& all = *static_cast<Work*>(data);
            all.statuses[i] = at_boundary([&]() -> Status {
                auto count = all.state.run(*all.on, all.requests[i], all.outs[i]);
                if (count.ok()) all.counts[i] = count.value();
                return count.status();
            });
        };
        status = run_all(executor, n, task, &work);
        for (std::size_t i = 0; status.ok() && i < n; ++i) {
            const Status& each = statuses[i];
            if (!each.ok()) status = {each.code(), "request " + std::to_string(i) + ": " + each.message()};
        }
        return status;
    });
}

Result<bool> Stages::reload() noexcept {
    return at_boundary([&]() -> Result<bool> {
        const std::scoped_lock one_at_a_time(state_->reloading);
        auto folder = current_bundle(state_->root);
        if (!folder.ok()) return folder.status();
        if (folder.value() == state_->now()->bundle.path()) return false;
        auto loaded = load_bundle(folder.value(), state_->settings, state_->options);
        if (!loaded.ok()) return loaded.status();
        const std::scoped_lock lock(state_->swapping);
        state_->loaded.swap(loaded.value());  // the old one is released after the lock, or by its last run
        return true;
    });
}

std::int64_t Stages::model_version() const noexcept {
    return state_->now()->bundle.model_version();
}
ItemIndex Stages::index() const noexcept {
    return state_->now()->index;
}
std::shared_ptr<const UserTower> Stages::user_tower() const noexcept {
    const auto now = state_->now();
    return now->towers.empty() ? nullptr : now->towers.front();
}

Executor Executor::threads(std::size_t n_threads) noexcept {
    const auto run = [](void* context, std::size_t n, void (*task)(void*, std::size_t), void* data) {
        const auto wanted = std::min(reinterpret_cast<std::size_t>(context), n);
        std::atomic<std::size_t> next{0};
        const auto work = [&] {
            for (std::size_t i = next++; i < n; i = next++) task(data, i);
        };
        std::vector<std::thread> others;
        try {
            for (std::size_t t = 1; t < wanted; ++t) others.emplace_back(work);
        } catch (...) {  // NOLINT(bugprone-empty-catch): those that started, and this one, do it all
        }
        work();
        for (std::thread& other : others) other.join();
    };
    return {run, reinterpret_cast<void*>(n_threads)};  // NOLINT(performance-no-int-to-ptr): never followed
}

}  // namespace karec
