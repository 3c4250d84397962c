// The steps but dpp: they look up, search, filter and add to scores.
#include "stages/steps.hpp"

#include <algorithm>
#include <string>
#include <type_traits>

#include "karec/ecosystem.hpp"

namespace karec {
namespace {

// A column of the pool's works.
struct PoolColumn {
    PoolColumn(const IndexView& of, std::string_view name, std::span<const std::int32_t> rows) {
        const auto dtype = of.column_dtype(name);
        if (!dtype.ok()) {
            status = dtype.status();
            return;
        }
        if (std::ranges::find(rows, kUnknownRow) != rows.end()) {
            status = Status::invalid(
                "some candidates have no row in the index: put the steps index_rows and "
                "has_embedding before the one that reads '" +
                std::string(name) + "'");
            return;
        }
        bytes.resize(rows.size() * size_of(dtype.value()));
        status = of.gather_column(name, rows, bytes);
        view = {name, dtype.value(), bytes};
    }
    ScratchVector<std::byte> bytes;
    Column view{"", DType::uint8, {}};
    Status status;
};

Status search_into(StageRun& run, const Candidates& candidates, std::size_t k) {
    if (!run.user) {
        return {Code::unavailable, "prerank needs a user vector, or a user tower and its inputs"};
    }
    const std::size_t most = std::min(k, candidates.size());
    Pool best;
    best.ids.resize(most);
    best.rows.resize(most);
    best.scores.resize(most);
    ScratchVector<std::int64_t> positions(most);
    auto count = run.view.search(*run.user, candidates, {best.scores, best.ids, best.rows, positions});
    if (!count.ok()) return count.status();
    best.unknown = run.pool.unknown + count->unknown;
    best.blocked = run.pool.blocked + count->blocked;
    best.ids.resize(count->found);
    best.rows.resize(count->found);
    best.scores.resize(count->found);
    run.pool = std::move(best);
    return {};
}

}  // namespace

std::size_t Pool::n_unknown() const noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(rows, [](std::int32_t row) { return row < 0; }));
}

void Pool::keep(std::span<const std::uint8_t> kept) noexcept {
    std::size_t to = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (kept[i] == 0) continue;
        ids[to] = ids[i];
        rows[to] = rows[i];
        scores[to++] = scores[i];
    }
    ids.resize(to);
    rows.resize(to);
    scores.resize(to);
}

void Pool::take(std::span<const std::int64_t> positions) {
    const auto each = [&](auto& values) {
        std::remove_reference_t<decltype(values)> taken(positions.size());
        for (std::size_t i = 0; i < positions.size(); ++i) taken[i] = values[static_cast<std::size_t>(positions[i])];
        values = std::move(taken);
    };
    each(ids);
    each(rows);
    each(scores);
}

Status run_step(const IndexRowsStep&, StageRun& run) {
    return run.view.lookup(run.pool.ids, run.pool.rows);
}

Status run_step(const HasEmbeddingStep&, StageRun& run) {
    ScratchVector<std::uint8_t> kept(run.pool.size());
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = run.pool.rows[i] >= 0 ? 1 : 0;
    const std::size_t before = run.pool.size();
    run.pool.keep(kept);
    run.pool.unknown += before - run.pool.size();
    return {};
}

Status run_step(const NotShownStep&, StageRun& run) {
    if (run.request.shown.empty()) return {};
    ScratchVector<std::int64_t> shown(run.request.shown.begin(), run.request.shown.end());
    std::ranges::sort(shown);
    ScratchVector<std::uint8_t> kept(run.pool.size());
    for (std::size_t i = 0; i < kept.size(); ++i) {
        kept[i] = std::ranges::binary_search(shown, run.pool.ids[i]) ? 0 : 1;
    }
    run.pool.keep(kept);
    return {};
}

Status run_step(const InnerProductStep& step, StageRun& run) {
    return search_into(run, Candidates::of_rows(run.pool.rows), step.k);
}

Status search_request(const InnerProductStep& step, StageRun& run) {
    return search_into(run, Candidates::of_ids(run.request.candidates), step.k);
}

Status run_step(const FreshnessStep& step, StageRun& run) {
    const PoolColumn uploaded(run.view, kUploadMs, run.pool.rows);
    if (!uploaded.status.ok()) return uploaded.status;
    return freshness(run.pool.scores, uploaded.view, run.request.time_ms, step.weight, step.half_life_hours,
                     run.pool.scores);
}

Status run_step(const ToneStep& step, StageRun& run) {
    const PoolColumn values(run.view, step.column, run.pool.rows);
    if (!values.status.ok()) return values.status;
    ScratchVector<std::uint8_t> kept(run.pool.size());
    if (Status status = tone(values.view, step.at_least, kept); !status.ok()) return status;
    run.pool.keep(kept);
    return {};
}

Status run_step(const QuotaStep& step, StageRun& run) {
    const PoolColumn groups(run.view, step.column, run.pool.rows);
    if (!groups.status.ok()) return groups.status;
    ScratchVector<std::uint8_t> kept(run.pool.size());
    if (Status status = quota(run.pool.scores, groups.view, step.at_most, kept); !status.ok()) return status;
    run.pool.keep(kept);
    return {};
}

}  // namespace karec
