#include "prerank/prerank_steps.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "karec/dpp.hpp"
#include "karec/ecosystem.hpp"

namespace karec {
namespace {

constexpr std::string_view kMoment = "upload_ms";
constexpr std::int64_t kUnknownType = -1;

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

Result<DType> need_column(const IndexView& view, std::string_view name, bool integer) {
    auto dtype = view.column_dtype(name);
    if (!dtype.ok() || !integer) return dtype;
    const bool floating =
        dtype.value() == DType::float16 || dtype.value() == DType::float32 || dtype.value() == DType::float64;
    if (!floating) return dtype;
    return Status::invalid("column '" + std::string(name) + "' holds floating numbers, expected integers");
}

template <class T>
void widen_integers(std::span<const std::byte> bytes, std::span<std::int64_t> to) noexcept {
    for (std::size_t i = 0; i < to.size(); ++i) {
        T value;
        std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
        to[i] = std::int64_t{value};
    }
}

// An integer column of the pool's works; 0 for works without a row.
Status gather_integers(const PrerankRun& run, std::string_view name, std::span<std::int64_t> to) {
    const auto dtype = need_column(run.view, name, true);
    if (!dtype.ok()) return dtype.status();
    ScratchVector<std::byte> bytes(to.size() * size_of(dtype.value()));
    if (Status status = run.view.gather_column(name, run.pool.rows, bytes); !status.ok()) return status;
    switch (dtype.value()) {
        case DType::int8:
            widen_integers<std::int8_t>(bytes, to);
            break;
        case DType::int16:
            widen_integers<std::int16_t>(bytes, to);
            break;
        case DType::uint16:
            widen_integers<std::uint16_t>(bytes, to);
            break;
        case DType::int32:
            widen_integers<std::int32_t>(bytes, to);
            break;
        case DType::uint32:
            widen_integers<std::uint32_t>(bytes, to);
            break;
        case DType::int64:
        case DType::uint64:
            widen_integers<std::int64_t>(bytes, to);
            break;
        default:
            widen_integers<std::uint8_t>(bytes, to);
    }
    return {};
}

bool is_typed(const DppStep& step) noexcept {
    return step.type_weight > 0.0 || step.max_per_type || step.min_per_type > 0;
}

// The product of each work's factors; works without a row keep 1.
Status gather_weights(const PrerankRun& run, const DppStep& step, std::span<float> weights) {
    std::ranges::fill(weights, 1.0f);
    ScratchVector<std::int64_t> values(weights.size());
    const std::string* column = nullptr;
    for (const TrafficWeight& weight : step.weights) {
        if (column == nullptr || *column != weight.column) {
            if (Status status = gather_integers(run, weight.column, values); !status.ok()) return status;
            column = &weight.column;
        }
        for (std::size_t i = 0; i < weights.size(); ++i) {
            if (run.pool.rows[i] >= 0 && values[i] == weight.value) weights[i] *= static_cast<float>(weight.factor);
        }
    }
    return {};
}

Status search_into(PrerankRun& run, const Candidates& candidates, std::size_t k) {
    if (run.user_vector.empty()) {
        return {Code::unavailable, "prerank needs a user vector, or a user tower and its inputs"};
    }
    const std::size_t most = std::min(k, candidates.size());
    PrerankPool best;
    best.ids.resize(most);
    best.rows.resize(most);
    best.scores.resize(most);
    ScratchVector<std::int64_t> positions(most);
    auto count = run.view.search(Query(run.user_vector), candidates, {best.scores, best.ids, best.rows, positions});
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

std::size_t PrerankPool::n_unknown() const noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(rows, [](std::int32_t row) { return row < 0; }));
}

void PrerankPool::keep(std::span<const std::uint8_t> kept) noexcept {
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

void PrerankPool::take(std::span<const std::int64_t> positions) {
    const auto each = [&](auto& values) {
        std::remove_reference_t<decltype(values)> taken(positions.size());
        for (std::size_t i = 0; i < positions.size(); ++i) taken[i] = values[static_cast<std::size_t>(positions[i])];
        values = std::move(taken);
    };
    each(ids);
    each(rows);
    each(scores);
}

Status check_step(const PrerankStep& step, const IndexView& view) {
    Status status = std::visit(
        [&]<class S>(const S& what) -> Status {
            if constexpr (std::is_same_v<S, InnerProductStep>) {
                if (what.k == 0) return Status::invalid("k must be positive, got 0");
            } else if constexpr (std::is_same_v<S, FreshnessStep>) {
                if (Status refused = need_column(view, kMoment, true).status(); !refused.ok()) return refused;
                const std::array<float, 0> none{};
                const Column empty{kMoment, DType::int64, {}};
                return freshness(none, empty, 0, what.weight, what.half_life_hours, std::span<float>());
            } else if constexpr (std::is_same_v<S, ToneStep>) {
                if (!std::isfinite(what.at_least)) {
                    return Status::invalid("at_least must be finite, got " + std::to_string(what.at_least));
                }
                return need_column(view, what.column, false).status();
            } else if constexpr (std::is_same_v<S, QuotaStep>) {
                if (what.at_most == 0) return Status::invalid("at_most must be positive, got 0");
                return need_column(view, what.column, false).status();
            } else if constexpr (std::is_same_v<S, DppStep>) {
                if (what.k && *what.k == 0) return Status::invalid("k must be positive, got 0");
                if (!(what.diversity >= 0.0 && what.diversity <= 1.0)) {
                    return Status::invalid("diversity must lie in [0, 1], got " + std::to_string(what.diversity));
                }
                for (const TrafficWeight& weight : what.weights) {
                    if (!(weight.factor >= 0.0 && weight.factor <= double{std::numeric_limits<float>::max()})) {
                        return Status::invalid("weights must lie in [0, the largest float32]");
                    }
                    if (Status refused = need_column(view, weight.column, true).status(); !refused.ok()) return refused;
                }
                if (is_typed(what)) {
                    if (Status refused = need_column(view, what.types, true).status(); !refused.ok()) return refused;
                }
                if (what.max_per_type && *what.max_per_type == 0) {
                    return Status::invalid("max_per_type must be positive, got 0");
                }
                if (what.max_per_type && what.min_per_type > *what.max_per_type) {
                    return Status::invalid("min_per_type must be at most max_per_type");
                }
                DppOptions options;
                options.ridge = what.ridge;
                options.type_weight = what.type_weight;
                options.window = what.window;
                return dpp_select({nullptr, 0, view.dim(), DType::float32}, {}, options, {}, {}).status();
            }
            return {};
        },
        step.what);
    if (status.ok()) return status;
    return {status.code(), "step " + step.name + ": " + status.message()};
}

Status run_step(const IndexRowsStep&, PrerankRun& run) {
    return run.view.lookup(run.pool.ids, run.pool.rows);
}

Status run_step(const HasEmbeddingStep&, PrerankRun& run) {
    ScratchVector<std::uint8_t> kept(run.pool.size());
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = run.pool.rows[i] >= 0 ? 1 : 0;
    const std::size_t before = run.pool.size();
    run.pool.keep(kept);
    run.pool.unknown += before - run.pool.size();
    return {};
}

Status run_step(const NotShownStep&, PrerankRun& run) {
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

Status run_step(const InnerProductStep& step, PrerankRun& run) {
    return search_into(run, Candidates::of_rows(run.pool.rows), step.k);
}

Status search_request(const InnerProductStep& step, PrerankRun& run) {
    return search_into(run, Candidates::of_ids(run.request.candidates), step.k);
}

Status run_step(const FreshnessStep& step, PrerankRun& run) {
    const PoolColumn uploaded(run.view, kMoment, run.pool.rows);
    if (!uploaded.status.ok()) return uploaded.status;
    return freshness(run.pool.scores, uploaded.view, run.request.time_ms, step.weight, step.half_life_hours,
                     run.pool.scores);
}

Status run_step(const ToneStep& step, PrerankRun& run) {
    const PoolColumn values(run.view, step.column, run.pool.rows);
    if (!values.status.ok()) return values.status;
    ScratchVector<std::uint8_t> kept(run.pool.size());
    if (Status status = tone(values.view, step.at_least, kept); !status.ok()) return status;
    run.pool.keep(kept);
    return {};
}

Status run_step(const QuotaStep& step, PrerankRun& run) {
    const PoolColumn groups(run.view, step.column, run.pool.rows);
    if (!groups.status.ok()) return groups.status;
    ScratchVector<std::uint8_t> kept(run.pool.size());
    if (Status status = quota(run.pool.scores, groups.view, step.at_most, kept); !status.ok()) return status;
    run.pool.keep(kept);
    return {};
}

Status run_step(const DppStep& step, PrerankRun& run) {
    PrerankPool& pool = run.pool;
    const std::size_t n = pool.size();
    if (n == 0) return {};
    const std::size_t dim = run.view.dim();
    DppOptions options;
    options.alpha = dpp_alpha(step.diversity);
    options.ridge = step.ridge;
    options.type_weight = step.type_weight;
    options.window = step.window;
    ScratchVector<float> embeddings(n * dim);
    if (Status status = run.view.gather(pool.rows, embeddings); !status.ok()) return status;
    ScratchVector<float> relevance(n);
    if (Status status = standardise(pool.scores, relevance); !status.ok()) return status;
    ScratchVector<std::int64_t> types;
    ScratchVector<float> weights;
    if (is_typed(step)) {
        types.resize(n);
        if (Status status = gather_integers(run, step.types, types); !status.ok()) return status;
        for (std::size_t i = 0; i < n; ++i) types[i] = pool.rows[i] < 0 ? kUnknownType : types[i];
        options.types = types;
        options.max_per_type = step.max_per_type;
        options.min_per_type = step.min_per_type;
    }
    if (!step.weights.empty()) {
        weights.resize(n);
        if (Status status = gather_weights(run, step, weights); !status.ok()) return status;
        options.weights = weights;
    }
    ScratchVector<std::int32_t> shown_rows(run.request.shown.size());
    if (Status status = run.view.lookup(run.request.shown, shown_rows); !status.ok()) return status;
    std::erase(shown_rows, kUnknownRow);
    ScratchVector<float> shown(shown_rows.size() * dim);
    if (Status status = run.view.gather(shown_rows, shown); !status.ok()) return status;
    options.shown = {shown.data(), shown_rows.size(), dim, DType::float32};
    const std::size_t k = std::min(step.k.value_or(run.request.k), n);
    ScratchVector<std::int64_t> indices(k);
    ScratchVector<double> gains(k);
    auto count = dpp_select({embeddings.data(), n, dim, DType::float32}, relevance, options, indices, gains);
    if (!count.ok()) return count.status();
    pool.take(std::span(indices).first(count->selected));
    return {};
}

}  // namespace karec
