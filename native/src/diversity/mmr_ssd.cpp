// mmr_select and ssd_select: their rules for MarginalGreedy, and what they refuse.
#include "karec/mmr_ssd.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "diversity/facets.hpp"
#include "diversity/marginal_greedy.hpp"

namespace karec {
namespace {

// A selection rule: the state of an item, its change by a pick (dot = ⟨item, direction⟩), and the term of the score.
struct Mmr {
    static constexpr float kStart = -1.0f;  // the largest similarity so far; none is smaller
    static float after(float largest, float dot) noexcept { return std::max(largest, dot); }
    static double penalty(float largest) noexcept { return -static_cast<double>(largest); }
    static constexpr bool kOrthogonal = false;
};

struct Ssd {
    static constexpr float kStart = 0.0f;  // ‖p‖²; of an item ‖φ‖²
    static float after(float squared, float dot) noexcept { return squared - dot * dot; }
    static double penalty(float squared) noexcept {
        return squared > kLeastResidual ? std::sqrt(static_cast<double>(squared)) : 0.0;
    }
    static constexpr bool kOrthogonal = true;
};

Status check(const MatrixView& embeddings, std::span<const float> relevance, const MmrSsdOptions& options) {
    const auto shape = [](const MatrixView& m) {
        return "(" + std::to_string(m.rows) + ", " + std::to_string(m.cols) + ")";
    };
    if (Status status = check_float(embeddings, "embeddings"); !status.ok()) return status;
    if (relevance.size() != embeddings.rows) {
        return Status::invalid("relevance has shape (" + std::to_string(relevance.size()) + ",), expected (" +
                               std::to_string(embeddings.rows) + ",) as embeddings has shape " + shape(embeddings));
    }
    if (!(options.diversity >= 0.0 && options.diversity <= 1.0)) {
        return Status::invalid("diversity must lie in [0, 1], got " + std::to_string(options.diversity));
    }
    if (options.window && *options.window == 0) return Status::invalid("window must be ≥ 1, got 0");
    if (options.shown.rows > 0 && options.shown.cols != embeddings.cols) {
        return Status::invalid("shown has shape " + shape(options.shown) + ", expected (M, " +
                               std::to_string(embeddings.cols) + ") as embeddings has shape " + shape(embeddings));
    }
    const std::span<const double> weights = options.facet_weights;
    if (Status status =
            check_facet_codes(weights, options.facets, options.shown_facets, embeddings.rows, options.shown.rows);
        !status.ok()) {
        return status;
    }
    if (Status status = check_facet_weights(weights, 0.0, "facet_weights"); !status.ok()) return status;
    if (Status status = check_finite(relevance, "relevance"); !status.ok()) return status;
    return check_finite(options.shown, "shown");
}

template <class Rule>
Result<std::size_t> select(const MatrixView& embeddings, std::span<const float> relevance, MmrSsdOptions options,
                           std::span<std::int64_t> indices, std::span<double> scores) noexcept {
    return at_boundary([&]() -> Result<std::size_t> {
        if (indices.size() != scores.size()) return Status::invalid("indices and scores differ in length");
        if (embeddings.rows > std::numeric_limits<std::uint32_t>::max()) {
            return Status::invalid("at most 2^32 − 1 items");
        }
        // Copied, so that the values that are checked are the values that are sorted, whoever writes to the caller's.
        const std::vector<float> own(relevance.begin(), relevance.end());
        // Shown rows without dimensions and facets change no result and need no memory: a caller may pass any number.
        if (embeddings.cols == 0 && options.shown.cols == 0 && options.shown_facets.empty()) options.shown.rows = 0;
        if (Status status = check(embeddings, own, options); !status.ok()) return status;
        const auto norms = finite_squared_norms(embeddings, "embeddings");
        if (!norms.ok()) return norms.status();
        const std::size_t k = std::min(indices.size(), embeddings.rows);
        Facets facets(embeddings.rows, options.shown.rows);
        facets.add_all(options.facet_weights, options.facets, options.shown_facets);
        return MarginalGreedy<Rule>(embeddings, norms.value(), own, std::move(facets), options)
            .run(options.window, indices.first(k), scores.first(k));
    });
}

}  // namespace

Result<std::size_t> mmr_select(MatrixView embeddings, std::span<const float> relevance, const MmrSsdOptions& options,
                               std::span<std::int64_t> indices, std::span<double> scores) noexcept {
    return select<Mmr>(embeddings, relevance, options, indices, scores);
}

Result<std::size_t> ssd_select(MatrixView embeddings, std::span<const float> relevance, const MmrSsdOptions& options,
                               std::span<std::int64_t> indices, std::span<double> scores) noexcept {
    return select<Ssd>(embeddings, relevance, options, indices, scores);
}

}  // namespace karec
