// The candidates of one request, and the steps that change them; on one pinned generation, in one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/scratch.hpp"
#include "diversity/vector_map.hpp"
#include "karec/stages.hpp"

namespace karec {

struct Pool {
    ScratchVector<std::int64_t> ids;
    ScratchVector<std::int32_t> rows;
    ScratchVector<float> scores;
    std::size_t unknown = 0;
    std::size_t blocked = 0;

    std::size_t size() const noexcept { return ids.size(); }
    std::size_t n_unknown() const noexcept;
    void keep(std::span<const std::uint8_t> kept) noexcept;
    void take(std::span<const std::int64_t> positions);
};

struct StageRun {
    const IndexView& view;
    const Request& request;
    const std::optional<Query>& user;                // nullopt: there is no user vector
    std::int64_t model_version;                      // the bundle's
    std::span<const std::optional<VectorMap>> maps;  // of each step; nullopt: it compares vectors as they are
    Pool pool;
    std::size_t step = 0;  // the one that runs
};

inline constexpr std::string_view kUploadMs = "upload_ms";  // the column that freshness reads

// The dtype of a column. Refuses one that the index lacks, and a floating one where integers are needed.
Result<DType> need_column(const IndexView& view, std::string_view name, bool integer);

// Whether the step reads types.
inline bool is_typed(const DppStep& step) noexcept {
    return step.type_weight > 0.0 || step.max_per_type || step.min_per_type > 0;
}

// Refuses settings out of range, and columns that the index lacks or that have another type, before any run.
Status check_step(const StageStep& step, const IndexView& view);

Status run_step(const IndexRowsStep& step, StageRun& run);
Status run_step(const HasEmbeddingStep& step, StageRun& run);
Status run_step(const NotShownStep& step, StageRun& run);
Status run_step(const InnerProductStep& step, StageRun& run);
Status run_step(const FreshnessStep& step, StageRun& run);
Status run_step(const ToneStep& step, StageRun& run);
Status run_step(const QuotaStep& step, StageRun& run);
Status run_step(const DppStep& step, StageRun& run);

// index_rows, has_embedding and inner_product in one pass over the request's candidates: the same result, since a
// search by ids skips and counts what has no row, and keeps the order of ties.
Status search_request(const InnerProductStep& step, StageRun& run);

}  // namespace karec
