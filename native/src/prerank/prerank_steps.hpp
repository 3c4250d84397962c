// The candidates of one request, and the steps that change them; on one pinned generation, in one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/scratch.hpp"
#include "karec/prerank.hpp"

namespace karec {

struct PrerankPool {
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

struct PrerankRun {
    const IndexView& view;
    const PrerankRequest& request;
    std::span<const float> user_vector;
    PrerankPool pool;
};

// Refuses settings out of range, and columns that the index lacks or that have another type, before any run.
Status check_step(const PrerankStep& step, const IndexView& view);

Status run_step(const IndexRowsStep& step, PrerankRun& run);
Status run_step(const HasEmbeddingStep& step, PrerankRun& run);
Status run_step(const NotShownStep& step, PrerankRun& run);
Status run_step(const InnerProductStep& step, PrerankRun& run);
Status run_step(const FreshnessStep& step, PrerankRun& run);
Status run_step(const ToneStep& step, PrerankRun& run);
Status run_step(const QuotaStep& step, PrerankRun& run);
Status run_step(const DppStep& step, PrerankRun& run);

// index_rows, has_embedding and inner_product in one pass over the request's candidates: the same result, since a
// search by ids skips and counts what has no row, and keeps the order of ties.
Status search_request(const InnerProductStep& step, PrerankRun& run);

}  // namespace karec
