// Stages runs exported stages of a karec.toml with a published bundle: candidates and a user in, a page out.
//
//   karec::StagesOptions options;
//   options.onnxruntime = "/…/libonnxruntime.so.1.22.0";
//   const auto stages = karec::Stages::open("bundles", "home.json", options);
//   if (!stages.ok()) return fail(stages.status());
//   const karec::UserState user{.user_id = 42};
//   karec::Page page;
//   const auto status = stages->run({.candidates = ids, .user = &user, .time_ms = now}, page);
//
// The same user, candidates and stages give the same ids and scores as in Python, bit for bit.
//
// Threads  Any number of threads may call every function. A run reads one bundle and one generation of its index from
//          start to end. reload() and runs do not wait for each other. Each thread
//          has up to 32 MiB of scratch memory; after its first runs only dpp and ONNX Runtime allocate.
// Fork     A child may run and reload. ONNX Runtime does not survive a fork: a child opens its own Stages.
// Errors   Functions never throw and print nothing. One that fails changes neither its object nor its output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "karec/bundle.hpp"
#include "karec/export.hpp"
#include "karec/item_index.hpp"
#include "karec/status.hpp"
#include "karec/user_encoder.hpp"

namespace karec {

struct Request {
    std::span<const std::int64_t> candidates;  // (N,) item ids, each once
    std::span<const float> scores;             // (N,) of the candidates, finite; empty: all 0
    const UserState* user = nullptr;           // the ranker and the user towers read it
    std::optional<Query> user_vector;          // finite, with tables if the towers are wide; nullopt: made from `user`
    std::int64_t time_ms = 0;                  // Unix milliseconds, for ages and freshness
    std::span<const std::int64_t> shown;       // item ids that the session has seen, oldest first
    std::size_t k = 10;                        // ≥ 1: items of the page, for selectors without a k of their own
};

// The result of a run, best first. A host that passes the same Page again saves allocations.
struct Page {
    std::vector<std::int64_t> ids;
    std::vector<float> scores;
    std::vector<std::int32_t> rows;  // in `generation` of the index; −1: an item without a row
    std::size_t n_unknown = 0;       // candidates dropped: not in the index, or no user vector of their model version
    std::size_t n_blocked = 0;       // candidates dropped: blocked
    std::size_t n_broken_rules = 0;  // violations of page_rules that no order of the candidates avoids
    std::uint64_t generation = 0;
    std::int64_t model_version = 0;
};

struct StepMetrics {
    std::string_view stage;
    std::string_view step;
    std::size_t n_in = 0;  // candidates
    std::size_t n_out = 0;
    std::size_t n_unknown = 0;  // of n_out: without a row in the index
    std::uint64_t nanoseconds = 0;
    std::int64_t model_version = 0;
};

struct StagesOptions {
    bool verify = true;       // compare the checksums of the bundle's files when they are opened
    std::string onnxruntime;  // path of ONNX Runtime's library; empty: no ranker, and requests have a user_vector
    // Called after each step on the thread of the run. If it throws in spite of noexcept, the program ends.
    void (*on_step)(void* context, const StepMetrics& metrics) noexcept = nullptr;
    void* context = nullptr;
};

class KAREC_API Stages {
  public:
    // Opens the bundle at `root` (see Bundle::open) and the file of `karec export stage` at `settings`. Opens
    // the index of the bundle and, if a step needs them, the encoder with its snapshot, the ranker and the user towers:
    // user_tower.onnx and, for each other model version in the index, user_tower.v<ten digits>.onnx.
    // bad_format: a file is damaged, of another format or model version, or has an unknown step or model input;
    // invalid_argument: the index lacks a column that a step reads; unavailable: a step needs ONNX Runtime; io_error.
    static Result<Stages> open(const std::string& root, const std::string& settings,
                               const StagesOptions& options) noexcept;

    // Runs the steps. invalid_argument: k = 0, scores or a user vector of another length or not finite, no user for the
    // ranker, or a step gives a score beyond float32. unavailable: no user vector and no tower, or no tower of a model
    // version in the index. A row is scored by the user vector of its model version; rows of a version without one are
    // dropped and counted. Cost: O(N·D) for the search, the ranker's model once, and dpp's cost.
    Status run(const Request& request, Page& page) const noexcept;

    // Opens the bundle that `current` names if it is another one, and returns true if so. If it fails, the old bundle
    // stays. Changes of the old index (adjust, block, upsert) are not in the new one.
    Result<bool> reload() noexcept;

    std::int64_t model_version() const noexcept;
    // The bundle's index. The host may search and change it during runs.
    ItemIndex index() const noexcept;

  private:
    struct State;
    explicit Stages(std::shared_ptr<State> state) noexcept;
    std::shared_ptr<State> state_;
};

}  // namespace karec
