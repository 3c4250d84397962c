// The candidates of one request, and the steps that change them, on one pinned generation in one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/scratch.hpp"
#include "stages/loaded_bundle.hpp"
#include "stages/request_user.hpp"

namespace karec {

// The candidates between two steps, N of them.
struct Pool {
    ScratchVector<std::int64_t> ids;
    ScratchVector<std::int32_t> rows;
    ScratchVector<float> scores;
    ScratchVector<float> logits;  // (N, T) after the step ranker, else empty
    std::size_t n_unknown = 0;
    std::size_t n_blocked = 0;

    std::size_t size() const noexcept { return ids.size(); }
    std::size_t n_without_row() const noexcept;
    // Removes the candidates whose value is 0.
    void filter(std::span<const std::uint8_t> is_selected);
    // Replaces all candidates by those at these positions, in this order.
    void take(std::span<const std::int64_t> positions);
};

struct StageRun {
    const IndexView& view;
    const Request& request;
    const LoadedBundle& bundle;
    const RequestUser& user;
    Pool pool;
    std::size_t step = 0;  // index of the running step
    std::size_t n_broken_rules = 0;
};

inline constexpr std::string_view kUploadMs = "upload_ms";  // the column that freshness reads

// True if the step reads types.
inline bool has_types(const DppStep& step) noexcept {
    return step.type_weight > 0.0 || step.max_per_type || step.min_per_type > 0;
}

// Refuses a step that reads a column that the index lacks or has with another type, or a task that the ranker lacks.
Status check_step(const StageStep& step, const IndexView& view, std::span<const std::string> tasks);

// Copies an integer column of `rows` to `values`; 0 for rows of −1. Refuses a column of floating numbers.
Status gather_integers(const IndexView& view, std::string_view column, std::span<const std::int32_t> rows,
                       std::span<std::int64_t> values);

Status run_step(const IndexRowsStep& step, StageRun& run);
Status run_step(const HasEmbeddingStep& step, StageRun& run);
Status run_step(const NotShownStep& step, StageRun& run);
Status run_step(const InnerProductStep& step, StageRun& run);
Status run_step(const FreshnessStep& step, StageRun& run);
Status run_step(const ToneStep& step, StageRun& run);
Status run_step(const QuotaStep& step, StageRun& run);
Status run_step(const RankerStep& step, StageRun& run);
Status run_step(const FusionStep& step, StageRun& run);
Status run_step(const TopKStep& step, StageRun& run);
Status run_step(const DppStep& step, StageRun& run);
Status run_step(const PageRulesStep& step, StageRun& run);

// index_rows, has_embedding and inner_product as one search over the candidates of the request. The result is the same:
// a search by ids skips and counts ids without a row, and its ties have the same order.
Status search_request(const InnerProductStep& step, StageRun& run);

}  // namespace karec
