// The step dpp: collects vectors, types, facets and weights of the pool's items, and runs dpp_select on them.
#include <algorithm>
#include <string>
#include <vector>

#include "karec/dpp.hpp"
#include "karec/freshness.hpp"
#include "stages/steps.hpp"

namespace karec {
namespace {

// The largest negative code that is not in `codes` (n,): one of −1, …, −(n + 1). O(n).
std::int64_t unused_code(std::span<const std::int64_t> codes) {
    const auto n = static_cast<std::int64_t>(codes.size());
    std::vector<bool> is_used(codes.size() + 1);
    for (const std::int64_t code : codes) {
        if (code < 0 && code >= -n - 1) is_used[static_cast<std::size_t>(-1 - code)] = true;
    }
    return -1 - (std::ranges::find(is_used, false) - is_used.begin());
}

// Writes the product of the factors of each item, 1 for items without a row.
Status gather_weights(const StageRun& run, const DppStep& step, std::span<float> weights) {
    std::ranges::fill(weights, 1.0f);
    ScratchVector<std::int64_t> values(weights.size());
    const std::string* column = nullptr;
    for (const TrafficWeight& weight : step.weights) {
        if (column == nullptr || *column != weight.column) {
            const Status status = gather_integers(run.view, weight.column, run.pool.rows, values);
            if (!status.ok()) return status;
            column = &weight.column;
        }
        for (std::size_t i = 0; i < weights.size(); ++i) {
            if (run.pool.rows[i] >= 0 && values[i] == weight.value) weights[i] *= static_cast<float>(weight.factor);
        }
    }
    return {};
}

// The vectors of the pool's items, zeros for items without a row, and of the shown items that have a row. The map of
// the step is applied to rows of the bundle's own model version. `pool` is empty if dpp_select can
// read the vectors from the index.
//
// Vectors of different model versions are not comparable. If the index has V versions, each gets dimensions of its
// own, V·D in all, so that the cosine of two versions is 0.
struct DppVectors {
    explicit DppVectors(const StageRun& run) : dim(run.view.dim()) {
        shown_rows.resize(run.request.shown.size());
        if (status = run.view.lookup(run.request.shown, shown_rows); !status.ok()) return;
        std::erase(shown_rows, kUnknownRow);
        n_shown = shown_rows.size();
        shown.resize(n_shown * dim);
        if (status = run.view.gather(shown_rows, shown); !status.ok()) return;
        const auto versions = run.view.model_versions();
        const std::optional<VectorMap>& map = run.bundle.maps[run.step];
        if (status = versions.status(); !status.ok()) return;
        if (!map && versions->size() < 2 && run.pool.n_without_row() == 0) return;
        pool.resize(run.pool.size() * dim);
        if (status = run.view.gather(run.pool.rows, pool); !status.ok()) return;
        if (versions->size() < 2) {
            if (map && !versions->empty() && versions->front() == run.bundle.bundle.model_version()) {
                map->apply(pool);
                map->apply(shown);
            }
            return;
        }
        ScratchVector<std::int64_t> pool_versions(run.pool.size());
        ScratchVector<std::int64_t> shown_versions(n_shown);
        if (status = run.view.gather_model_versions(run.pool.rows, pool_versions); !status.ok()) return;
        if (status = run.view.gather_model_versions(shown_rows, shown_versions); !status.ok()) return;
        if (map) {
            apply_map(*map, pool_versions, run.bundle.bundle.model_version(), pool);
            apply_map(*map, shown_versions, run.bundle.bundle.model_version(), shown);
        }
        ScratchVector<std::int64_t> distinct(pool_versions.begin(), pool_versions.end());
        distinct.insert(distinct.end(), shown_versions.begin(), shown_versions.end());
        std::ranges::sort(distinct);
        distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
        pool = to_blocks(pool, pool_versions, distinct);
        shown = to_blocks(shown, shown_versions, distinct);
        dim *= distinct.size();
    }

    void apply_map(const VectorMap& map, std::span<const std::int64_t> versions, std::int64_t own,
                   std::span<float> rows) const {
        for (std::size_t i = 0; i < versions.size(); ++i) {
            if (versions[i] == own) map.apply(rows.subspan(i * dim, dim));
        }
    }

    // Returns (N, V·D) of rows (N, D): each row in the block of its version.
    ScratchVector<float> to_blocks(const ScratchVector<float>& rows, const ScratchVector<std::int64_t>& versions,
                                   const ScratchVector<std::int64_t>& distinct) const {
        ScratchVector<float> out(rows.size() * distinct.size(), 0.0f);
        for (std::size_t i = 0; i < versions.size(); ++i) {
            const auto block = std::ranges::lower_bound(distinct, versions[i]) - distinct.begin();
            const std::size_t to = (i * distinct.size() + static_cast<std::size_t>(block)) * dim;
            std::copy_n(rows.data() + i * dim, dim, out.data() + to);
        }
        return out;
    }

    std::size_t dim;
    std::size_t n_shown = 0;
    ScratchVector<std::int32_t> shown_rows;
    ScratchVector<float> pool;
    ScratchVector<float> shown;
    Status status;
};

// The values of the facets of the pool's items (F, N), and of the shown items (F, M). A value below 0, or of an item
// without a row, becomes a value that no other item has.
struct Facets {
    explicit Facets(const DppStep& step) {
        for (const FacetWeight& facet : step.facets) weights.push_back(facet.weight);
    }

    Status gather(const DppStep& step, const IndexView& view, std::span<const std::int32_t> rows,
                  std::span<const std::int32_t> shown_rows) {
        codes.resize(weights.size() * rows.size());
        shown_codes.resize(weights.size() * shown_rows.size());
        for (std::size_t f = 0; f < weights.size(); ++f) {
            const std::string& column = step.facets[f].column;
            const std::span<std::int64_t> own = std::span(codes).subspan(f * rows.size(), rows.size());
            const std::span<std::int64_t> shown =
                std::span(shown_codes).subspan(f * shown_rows.size(), shown_rows.size());
            if (Status status = gather_integers(view, column, rows, own); !status.ok()) return status;
            if (Status status = gather_integers(view, column, shown_rows, shown); !status.ok()) return status;
            std::int64_t unique = -1;
            for (std::size_t i = 0; i < own.size(); ++i, --unique) own[i] = own[i] < 0 || rows[i] < 0 ? unique : own[i];
            for (std::size_t i = 0; i < shown.size(); ++i, --unique) shown[i] = shown[i] < 0 ? unique : shown[i];
        }
        return {};
    }

    ScratchVector<double> weights;
    ScratchVector<std::int64_t> codes;
    ScratchVector<std::int64_t> shown_codes;
};

}  // namespace

Status run_step(const DppStep& step, StageRun& run) {
    Pool& pool = run.pool;
    const std::size_t n = pool.size();
    if (n == 0) return {};
    DppOptions options;
    options.alpha = dpp_alpha(step.diversity);
    options.ridge = step.ridge;
    options.type_weight = step.type_weight;
    options.window = step.window;
    const DppVectors vectors(run);
    if (!vectors.status.ok()) return vectors.status;
    options.shown = {vectors.shown.data(), vectors.n_shown, vectors.dim, DType::float32};
    ScratchVector<float> relevance(n);
    if (Status status = standardise(pool.scores, relevance); !status.ok()) return status;
    ScratchVector<std::int64_t> types;
    ScratchVector<float> weights;
    if (has_types(step)) {
        types.resize(n);
        if (Status status = gather_integers(run.view, step.types, pool.rows, types); !status.ok()) return status;
        const std::int64_t unknown_type = unused_code(types);  // of all items without a row
        for (std::size_t i = 0; i < n; ++i) types[i] = pool.rows[i] < 0 ? unknown_type : types[i];
        options.types = types;
        options.max_per_type = step.max_per_type;
        options.min_per_type = step.min_per_type;
    }
    Facets facets(step);
    if (Status status = facets.gather(step, run.view, pool.rows, vectors.shown_rows); !status.ok()) return status;
    options.facets = facets.codes;
    options.facet_weights = facets.weights;
    options.shown_facets = facets.shown_codes;
    if (!step.weights.empty()) {
        weights.resize(n);
        if (Status status = gather_weights(run, step, weights); !status.ok()) return status;
        options.weights = weights;
    }
    const std::size_t k = std::min(step.k.value_or(run.request.k), n);
    ScratchVector<std::int64_t> indices(k);
    ScratchVector<double> gains(k);
    const MatrixView copied{vectors.pool.data(), n, vectors.dim, DType::float32};
    auto count = vectors.pool.empty() ? run.view.dpp_select(pool.rows, relevance, options, indices, gains)
                                      : dpp_select(copied, relevance, options, indices, gains);
    if (!count.ok()) return count.status();
    pool.take(std::span(indices).first(count->selected));
    return {};
}

}  // namespace karec
