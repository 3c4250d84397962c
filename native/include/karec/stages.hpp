// Prerank whole: candidates and a user in, the best of them out, by a published bundle and the steps of karec.toml.
//
//   const auto settings = karec::StageSettings::read("prerank-home.json");
//   if (!settings.ok()) return fail(settings.status());
//   auto ranker = karec::Stages::open("bundles", settings.value());
//   if (!ranker.ok()) return fail(ranker.status());
//   const karec::UserState user{.user_id = 42};
//   auto count = ranker->run({.candidates = ids, .user = &user, .time_ms = now}, {scores, ids_out, rows});
//   if (!count.ok()) return fail(count.status());
//
// The same user, candidates and settings give the same ids and scores, bit for bit, as Python's stage.
//
// Threads: every function may be called in any number of threads at once. A run sees one bundle, and one generation of
// its index, from start to end. reload() never waits for runs, nor they for it: those that began on the old bundle end
// on it, and its memory goes with the last of them. Scratch memory is kept by each thread (up to 32 MiB): after a few
// runs, steps other than dpp and the user tower ask the heap for nothing.
// Fork: runs and reloads go on in the child. But ONNX Runtime does not survive a fork: a child opens its own ranker
// where there is a user tower. Functions never throw, print or abort. A function that fails leaves ranker and output as
// they were. What the host hands in: an Executor that throws fails its batch; on_step is noexcept by its type, so that
// one which throws all the same ends the program in the host's own code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "karec/bundle.hpp"
#include "karec/export.hpp"
#include "karec/item_index.hpp"
#include "karec/stage_settings.hpp"
#include "karec/status.hpp"
#include "karec/user_encoder.hpp"
#include "karec/user_tower.hpp"

namespace karec {

struct Request {
    std::span<const std::int64_t> candidates;    // (N,) work ids, each once
    std::span<const float> recall_scores;        // (N,) their scores so far, finite; empty = 0
    std::span<const float> user_vector;          // (D,), for every row; empty: user_vectors, or the towers compute it
    std::span<const VersionQuery> user_vectors;  // instead, one for each model version that rows of the index are of
    const UserState* user = nullptr;             // who asks, by raw ids: encoded for the towers, where there is neither
    std::span<const Tensor> user_inputs;         // or encoded by the host; each tower takes its own by name
    std::int64_t time_ms = 0;                    // Unix milliseconds: the moment of the user's ages and of freshness
    std::span<const std::int64_t> shown;         // works that the session has seen
    std::size_t k = 10;                          // ≥ 1, for a dpp step without a k
};

// Where a run writes: three arrays of one length, at least Stages::most(request), owned by the caller.
struct Preranked {
    std::span<float> scores;
    std::span<std::int64_t> ids;
    std::span<std::int32_t> rows;  // of the generation that PrerankCount names
};

struct PrerankCount {
    std::size_t found = 0;    // entries written, best first
    std::size_t unknown = 0;  // candidates that a step dropped: not in the index, or no user vector of their version
    std::size_t blocked = 0;  // candidates dropped because they are blocked
    std::uint64_t generation = 0;
    std::int64_t model_version = 0;
};

// What one step did. StagesOptions::on_step gets it when the step ends, on the thread that runs the request.
struct StepMetrics {
    std::string_view step;
    std::size_t n_in = 0;
    std::size_t n_out = 0;
    std::size_t n_unknown = 0;  // of n_out, without a row in the index
    std::uint64_t nanoseconds = 0;
    std::int64_t model_version = 0;
};

// Runs task(data, i) once for each i < n, in whatever threads, and returns, or throws, when no task runs any more. A
// default Executor runs them one by one on the calling thread. Tasks never throw.
struct Executor {
    void (*run)(void* context, std::size_t n, void (*task)(void* data, std::size_t i), void* data) = nullptr;
    void* context = nullptr;
    // n_threads ≥ 1, the calling one among them; the others are started and ended by each call. Where they cannot be
    // started, fewer do the work. A pool of the host's own costs less.
    KAREC_API static Executor threads(std::size_t n_threads) noexcept;
};

struct StagesOptions {
    bool verify = true;       // read every byte of the bundle's files that are opened, and compare their sums
    std::string onnxruntime;  // path of ONNX Runtime's library; empty: every request brings its user_vector
    int tower_threads = 1;    // threads inside one run of the tower
    void (*on_step)(void* context, const StepMetrics& metrics) noexcept = nullptr;
    void* context = nullptr;
};

class KAREC_API Stages {
  public:
    // Opens the bundle at `root` (see Bundle::open): its index and, with options.onnxruntime, its user towers:
    // user_tower.onnx, of the bundle's own model version, and each user_tower.v<ten digits>.onnx, of another one that
    // rows of the index are of. bad_format: altered, not whole, newer, or a file of another model version than it
    // should be; invalid_argument: a step that makes no sense, or needs a column that the index lacks. With towers it
    // opens the bundle's encoder and snapshot too, where it has them (see UserEncoder::open).
    static Result<Stages> open(const std::string& root, const StageSettings& settings,
                               const StagesOptions& options) noexcept;
    static Result<Stages> open(const std::string& root, const StageSettings& settings) noexcept {
        return open(root, settings, StagesOptions{});
    }

    // Runs the steps. Refuses: a user vector of another length or not finite, output too short (nothing is written).
    // unavailable: inner_product without a user vector and without a tower, or with towers of other versions than every
    // row; a `user` where there is no tower or the bundle has no encoder. O(N·D) for the search, and dpp's cost; with V
    // model versions V times that, and one pass of each tower. Each row meets the user vector of its own model version;
    // rows of a version without one are left out and counted.
    Result<PrerankCount> run(const Request& request, const Preranked& out) const noexcept;

    // The most that a run of such a request may write: the smallest k of the steps, or N.
    std::size_t most(const Request& request) const noexcept;

    // Several requests on one bundle, in parallel by `executor`; requests, outs, counts and statuses of one length.
    // Each request has its own status: where it is ok, out and count are written, else both are left alone. A request
    // that the executor left out is unavailable, "did not run". Returned is what the executor threw, as unavailable, or
    // the first request's failure, as "request 3: …".
    Status run_batch(std::span<const Request> requests, std::span<const Preranked> outs, std::span<PrerankCount> counts,
                     std::span<Status> statuses, const Executor& executor) const noexcept;

    // Opens the bundle that `current` names now, if it is another one; whether it was. When it fails the old one serves
    // on. What was adjusted, blocked or upserted in the old bundle's index is not in the new one's.
    Result<bool> reload() noexcept;

    std::int64_t model_version() const noexcept;
    // The bundle's index, for adjust, block and upsert while runs go on, and for searches of the host's own.
    ItemIndex index() const noexcept;
    // The tower of the bundle's own model version. nullptr without a tower; as long as the ranker and this pointer's
    // owner live.
    std::shared_ptr<const UserTower> user_tower() const noexcept;

  private:
    struct State;
    explicit Stages(std::shared_ptr<State> state) noexcept;
    std::shared_ptr<State> state_;
};

}  // namespace karec
