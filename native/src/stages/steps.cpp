// All steps except dpp and page_rules: lookups, searches, filters, scores and cuts.
#include "stages/steps.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <type_traits>
#include <utility>

#include "base/checks.hpp"
#include "karec/freshness.hpp"
#include "rules/column_values.hpp"
#include "stages/fusion.hpp"

namespace karec {
namespace {

// Products of factors up to this limit are finite in float32, however they are rounded.
constexpr double kMaxWeight = 1e38;
constexpr std::size_t kSearchGrowth = 4;  // ratio of k to that of a search that left too few items within quotas

// A column of the pool's items.
struct PoolColumn {
    PoolColumn(const IndexView& index, std::string_view name, std::span<const std::int32_t> rows) {
        const auto dtype = index.column_dtype(name);
        if (!dtype.ok()) {
            status = dtype.status();
            return;
        }
        if (std::ranges::find(rows, kUnknownRow) != rows.end()) {
            status = Status::invalid("'" + std::string(name) +
                                     "' is read, but some candidates have no row in the index: put the steps "
                                     "index_rows and has_embedding before");
            return;
        }
        bytes.resize(rows.size() * size_of(dtype.value()));
        status = index.gather_column(name, rows, bytes);
        view = {name, dtype.value(), bytes};
    }
    ScratchVector<std::byte> bytes;
    Column view{"", DType::uint8, {}};
    Status status;
};

// Refuses a column that the index lacks and, if `is_integer`, one of floating numbers.
Status check_column(const IndexView& view, std::string_view name, bool is_integer) {
    const auto dtype = view.column_dtype(name);
    if (!dtype.ok() || !is_integer) return dtype.status();
    const bool is_floating =
        dtype.value() == DType::float16 || dtype.value() == DType::float32 || dtype.value() == DType::float64;
    if (!is_floating) return {};
    return Status::invalid("column '" + std::string(name) + "' has floating numbers, expected integers");
}

// Refuses factors that can multiply to more than kMaxWeight for an item. An item has one value of each column.
Status check_factors(std::span<const TrafficWeight> weights) {
    std::map<std::pair<std::string_view, std::int64_t>, double> factor_of_value;
    std::map<std::string_view, double> max_of_column;
    for (const TrafficWeight& weight : weights) {
        double& factor = factor_of_value.try_emplace({weight.column, weight.value}, 1.0).first->second;
        factor *= std::max(weight.factor, 1.0);
        double& max = max_of_column.try_emplace(weight.column, 1.0).first->second;
        max = std::max(max, factor);
    }
    double product = 1.0;
    for (const auto& [column, max] : max_of_column) product *= max;
    if (product <= kMaxWeight) return {};
    return Status::invalid("weights: the factors of an item can multiply to more than 1e38");
}

Status check_columns(const DppStep& step, const IndexView& view) {
    Status status = has_types(step) ? check_column(view, step.types, true) : Status();
    if (status.ok()) status = check_factors(step.weights);
    for (const TrafficWeight& weight : step.weights) {
        if (status.ok()) status = check_column(view, weight.column, true);
    }
    for (const FacetWeight& facet : step.facets) {
        if (status.ok()) status = check_column(view, facet.column, true);
    }
    return status;
}

Status check_columns(const PageRulesStep& step, const IndexView& view) {
    Status status;
    for (const PageRule& rule : step.rules) {
        if (status.ok()) status = check_column(view, rule.column, true);
    }
    return status;
}

// Refuses a task that the ranker lacks.
Status check_tasks(const FusionStep& step, std::span<const std::string> tasks) {
    if (tasks.empty()) return Status::invalid("it needs logits: put the step ranker before it");
    for (const TaskWeight& weight : step.weights) {
        if (std::ranges::find(tasks, weight.task) != tasks.end()) continue;
        return Status::invalid("the ranker of the bundle does not predict '" + weight.task + "'");
    }
    return {};
}

struct Counts {
    std::size_t n_unknown;
    std::size_t n_blocked;
};

// Replaces the pool by the k best candidates. Unknown and blocked ones are added to `counted`.
Status search_into(StageRun& run, const Candidates& candidates, std::size_t k, const Counts& counted) {
    const std::size_t max_found = std::min(k, candidates.size());
    Pool best;
    best.ids.resize(max_found);
    best.rows.resize(max_found);
    best.scores.resize(max_found);
    ScratchVector<std::int64_t> positions(max_found);
    const auto count = run.view.search(*run.user.vector, candidates, {best.scores, best.ids, best.rows, positions});
    if (!count.ok()) return count.status();
    best.n_unknown = counted.n_unknown + count->unknown;
    best.n_blocked = counted.n_blocked + count->blocked;
    best.ids.resize(count->found);
    best.rows.resize(count->found);
    best.scores.resize(count->found);
    run.pool = std::move(best);
    return check_finite(run.pool.scores, "scores");
}

// Replaces the pool by the first k within the quotas of the m best candidates. m is k, then kSearchGrowth times as many
// until min_items are left.
Status search_within(const InnerProductStep& step, StageRun& run, const Candidates& candidates) {
    const Counts before{run.pool.n_unknown, run.pool.n_blocked};
    for (std::size_t m = step.k;; m *= kSearchGrowth) {
        if (Status status = search_into(run, candidates, m, before); !status.ok()) return status;
        const bool is_all = run.pool.size() < m;
        for (const QuotaStep& quota : step.at_most) {
            if (Status status = run_step(quota, run); !status.ok()) return status;
        }
        if (is_all || run.pool.size() >= step.min_items) break;
    }
    if (run.pool.size() <= step.k) return {};
    ScratchVector<std::int64_t> first(step.k);
    std::iota(first.begin(), first.end(), 0);
    run.pool.take(first);
    return {};
}

}  // namespace

std::size_t Pool::n_without_row() const noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(rows, [](std::int32_t row) { return row < 0; }));
}

void Pool::filter(std::span<const std::uint8_t> is_selected) {
    ScratchVector<std::int64_t> positions;
    positions.reserve(size());
    for (std::size_t i = 0; i < size(); ++i) {
        if (is_selected[i] != 0) positions.push_back(static_cast<std::int64_t>(i));
    }
    take(positions);
}

void Pool::take(std::span<const std::int64_t> positions) {
    const std::size_t n_tasks = size() > 0 ? logits.size() / size() : 0;
    const auto take_values = [&](auto& values, std::size_t width) {
        std::remove_reference_t<decltype(values)> selected(positions.size() * width);
        for (std::size_t i = 0; i < positions.size(); ++i) {
            std::copy_n(values.data() + static_cast<std::size_t>(positions[i]) * width, width,
                        selected.data() + i * width);
        }
        values = std::move(selected);
    };
    take_values(logits, n_tasks);
    take_values(ids, 1);
    take_values(rows, 1);
    take_values(scores, 1);
}

Status gather_integers(const IndexView& view, std::string_view column, std::span<const std::int32_t> rows,
                       std::span<std::int64_t> values) {
    if (Status status = check_column(view, column, true); !status.ok()) return status;
    const DType dtype = view.column_dtype(column).value();
    ScratchVector<std::byte> bytes(values.size() * size_of(dtype));
    if (Status status = view.gather_column(column, rows, bytes); !status.ok()) return status;
    const Column values_of_rows{column, dtype, bytes};
    with_type(dtype, [&]<class T>(T) {
        for (std::size_t i = 0; i < values.size(); ++i) {
            // NOLINTNEXTLINE(bugprone-signed-char-misuse): int8 columns hold numbers, not characters
            values[i] = static_cast<std::int64_t>(value_at<T>(values_of_rows, i));
        }
    });
    return {};
}

Status check_step(const StageStep& step, const IndexView& view, std::span<const std::string> tasks) {
    const auto check = [&]<class S>(const S& settings) -> Status {
        if constexpr (std::is_same_v<S, FreshnessStep>) {
            return check_column(view, kUploadMs, true);
        } else if constexpr (std::is_same_v<S, ToneStep> || std::is_same_v<S, QuotaStep>) {
            return check_column(view, settings.column, false);
        } else if constexpr (std::is_same_v<S, DppStep> || std::is_same_v<S, PageRulesStep>) {
            return check_columns(settings, view);
        } else if constexpr (std::is_same_v<S, FusionStep>) {
            return check_tasks(settings, tasks);
        } else {
            return {};
        }
    };
    const Status status = std::visit(check, step.settings);
    return status.ok() ? status : Status{status.code(), "step " + step.name + ": " + status.message()};
}

Status run_step(const IndexRowsStep&, StageRun& run) {
    return run.view.lookup(run.pool.ids, run.pool.rows);
}

Status run_step(const HasEmbeddingStep&, StageRun& run) {
    ScratchVector<std::uint8_t> has_row(run.pool.size());
    for (std::size_t i = 0; i < has_row.size(); ++i) has_row[i] = run.pool.rows[i] >= 0 ? 1 : 0;
    run.pool.n_unknown += run.pool.n_without_row();
    run.pool.filter(has_row);
    return {};
}

Status run_step(const NotShownStep&, StageRun& run) {
    if (run.request.shown.empty()) return {};
    ScratchVector<std::int64_t> shown(run.request.shown.begin(), run.request.shown.end());
    std::ranges::sort(shown);
    ScratchVector<std::uint8_t> is_new(run.pool.size());
    for (std::size_t i = 0; i < is_new.size(); ++i) {
        is_new[i] = std::ranges::binary_search(shown, run.pool.ids[i]) ? 0 : 1;
    }
    run.pool.filter(is_new);
    return {};
}

Status run_step(const InnerProductStep& step, StageRun& run) {
    const ScratchVector<std::int32_t> rows = std::move(run.pool.rows);  // the search replaces the pool
    return search_within(step, run, Candidates::of_rows(rows));
}

Status search_request(const InnerProductStep& step, StageRun& run) {
    return search_within(step, run, Candidates::of_ids(run.request.candidates));
}

Status run_step(const FreshnessStep& step, StageRun& run) {
    const PoolColumn uploaded(run.view, kUploadMs, run.pool.rows);
    if (!uploaded.status.ok()) return uploaded.status;
    const Status status = freshness(run.pool.scores, uploaded.view, run.request.time_ms, step.weight,
                                    step.half_life_hours, run.pool.scores);
    return status.ok() ? check_finite(run.pool.scores, "scores") : status;
}

Status run_step(const ToneStep& step, StageRun& run) {
    const PoolColumn values(run.view, step.column, run.pool.rows);
    if (!values.status.ok()) return values.status;
    ScratchVector<std::uint8_t> is_selected(run.pool.size());
    if (Status status = tone(values.view, step.at_least, is_selected); !status.ok()) return status;
    run.pool.filter(is_selected);
    return {};
}

Status run_step(const QuotaStep& step, StageRun& run) {
    const PoolColumn groups(run.view, step.column, run.pool.rows);
    if (!groups.status.ok()) return groups.status;
    ScratchVector<std::uint8_t> is_selected(run.pool.size());
    if (Status status = quota(run.pool.scores, groups.view, step.at_most, is_selected); !status.ok()) return status;
    run.pool.filter(is_selected);
    return {};
}

Status run_step(const RankerStep&, StageRun& run) {
    const Ranker& ranker = *run.bundle.ranker;
    run.pool.logits.resize(run.pool.size() * ranker.tasks().size());
    if (run.pool.size() == 0) return {};
    return ranker.run(run.user.encoded, run.user.tensors, run.pool.ids, run.request.time_ms, run.pool.logits);
}

Status run_step(const FusionStep& step, StageRun& run) {
    const std::span<const std::string> tasks = run.bundle.ranker->tasks();
    if (run.pool.logits.size() != run.pool.size() * tasks.size()) {
        return Status::invalid("the candidates have no logits: put the step ranker before it");
    }
    ScratchVector<double> weights;
    for (const std::string& task : tasks) {
        const auto weight = std::ranges::find(step.weights, task, &TaskWeight::task);
        weights.push_back(weight == step.weights.end() ? 0.0 : weight->weight);
    }
    const ScratchVector<double> logits(run.pool.logits.begin(), run.pool.logits.end());
    fuse_logits(logits, weights, step.kind, run.pool.scores);
    return check_finite(run.pool.scores, "scores");
}

Status run_step(const TopKStep& step, StageRun& run) {
    const ScratchVector<float>& scores = run.pool.scores;
    const std::size_t k = std::min(step.k.value_or(run.request.k), run.pool.size());
    ScratchVector<std::int64_t> positions(run.pool.size());
    std::iota(positions.begin(), positions.end(), 0);
    const auto is_before = [&](std::int64_t a, std::int64_t b) {
        const float score_a = scores[static_cast<std::size_t>(a)];
        const float score_b = scores[static_cast<std::size_t>(b)];
        return score_a > score_b || (score_a == score_b && a < b);
    };
    std::ranges::partial_sort(positions, positions.begin() + static_cast<std::ptrdiff_t>(k), is_before);
    run.pool.take(std::span(positions).first(k));
    return {};
}

}  // namespace karec
