// The step dpp: vectors, types and weights of the pool's works into one dpp_select.
#include <algorithm>
#include <string>

#include "karec/dpp.hpp"
#include "karec/ecosystem.hpp"
#include "stages/steps.hpp"

namespace karec {
namespace {

constexpr std::int64_t kUnknownType = -1;

// The product of each work's factors; works without a row keep 1.
Status gather_weights(const StageRun& run, const DppStep& step, std::span<float> weights) {
    std::ranges::fill(weights, 1.0f);
    ScratchVector<std::int64_t> values(weights.size());
    const std::string* column = nullptr;
    for (const TrafficWeight& weight : step.weights) {
        if (column == nullptr || *column != weight.column) {
            if (Status status = gather_integers(run.view, weight.column, run.pool.rows, values); !status.ok())
                return status;
            column = &weight.column;
        }
        for (std::size_t i = 0; i < weights.size(); ++i) {
            if (run.pool.rows[i] >= 0 && values[i] == weight.value) weights[i] *= static_cast<float>(weight.factor);
        }
    }
    return {};
}

// The vectors of the pool's works, zeros for works without a row, and of the shown works that the index knows; mapped
// where the step has a map, and a row is of the bundle's own model version. Those that the index has as they are
// compared are not copied: `pool` stays empty.
//
// Vectors of different model versions have nothing in common. Where the index holds V versions, each gets dimensions of
// its own, V·D in all, so that the cosine of two versions is 0.
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
        ScratchVector<std::int64_t> of_pool(run.pool.size());
        ScratchVector<std::int64_t> of_shown(n_shown);
        if (status = run.view.gather_model_versions(run.pool.rows, of_pool); !status.ok()) return;
        if (status = run.view.gather_model_versions(shown_rows, of_shown); !status.ok()) return;
        if (map) {
            map_own(*map, of_pool, run.bundle.bundle.model_version(), pool);
            map_own(*map, of_shown, run.bundle.bundle.model_version(), shown);
        }
        ScratchVector<std::int64_t> standing(of_pool.begin(), of_pool.end());
        standing.insert(standing.end(), of_shown.begin(), of_shown.end());
        std::ranges::sort(standing);
        standing.erase(std::unique(standing.begin(), standing.end()), standing.end());
        pool = apart(pool, of_pool, standing);
        shown = apart(shown, of_shown, standing);
        dim *= standing.size();
    }

    void map_own(const VectorMap& map, std::span<const std::int64_t> versions, std::int64_t own,
                 std::span<float> rows) const {
        for (std::size_t i = 0; i < versions.size(); ++i) {
            if (versions[i] == own) map.apply(rows.subspan(i * dim, dim));
        }
    }

    // (N, D) of these versions → (N, V·D): each row in the block of its version.
    ScratchVector<float> apart(const ScratchVector<float>& rows, const ScratchVector<std::int64_t>& versions,
                               const ScratchVector<std::int64_t>& standing) const {
        ScratchVector<float> out(rows.size() * standing.size(), 0.0f);
        for (std::size_t i = 0; i < versions.size(); ++i) {
            const auto block = std::ranges::lower_bound(standing, versions[i]) - standing.begin();
            const std::size_t to = (i * standing.size() + static_cast<std::size_t>(block)) * dim;
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

// The facets' codes of the pool's works, (F, N), and of what was shown, (F, M). A work without a row, or with a value
// below 0, has a value that no other work has.
struct Facets {
    explicit Facets(const DppStep& step) {
        for (const FacetWeight& facet : step.facets) weights.push_back(facet.weight);
    }

    Status gather(const DppStep& step, const IndexView& view, std::span<const std::int32_t> rows,
                  std::span<const std::int32_t> shown_rows) {
        codes.resize(weights.size() * rows.size());
        of_shown.resize(weights.size() * shown_rows.size());
        for (std::size_t f = 0; f < weights.size(); ++f) {
            const std::string& column = step.facets[f].column;
            const std::span<std::int64_t> own = std::span(codes).subspan(f * rows.size(), rows.size());
            const std::span<std::int64_t> shown = std::span(of_shown).subspan(f * shown_rows.size(), shown_rows.size());
            if (Status status = gather_integers(view, column, rows, own); !status.ok()) return status;
            if (Status status = gather_integers(view, column, shown_rows, shown); !status.ok()) return status;
            std::int64_t none = 0;
            for (std::size_t i = 0; i < own.size(); ++i, --none) own[i] = own[i] < 0 || rows[i] < 0 ? none - 1 : own[i];
            for (std::size_t i = 0; i < shown.size(); ++i, --none) shown[i] = shown[i] < 0 ? none - 1 : shown[i];
        }
        return {};
    }

    ScratchVector<double> weights;
    ScratchVector<std::int64_t> codes;
    ScratchVector<std::int64_t> of_shown;
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
        for (std::size_t i = 0; i < n; ++i) types[i] = pool.rows[i] < 0 ? kUnknownType : types[i];
        options.types = types;
        options.max_per_type = step.max_per_type;
        options.min_per_type = step.min_per_type;
    }
    Facets facets(step);
    if (Status status = facets.gather(step, run.view, pool.rows, vectors.shown_rows); !status.ok()) return status;
    options.facets = facets.codes;
    options.facet_weights = facets.weights;
    options.shown_facets = facets.of_shown;
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
