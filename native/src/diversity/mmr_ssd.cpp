// mmr_select and ssd_select: their rules for MmrSsdGreedy, and the checks of their input.
#include "karec/mmr_ssd.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "diversity/feature_rows.hpp"
#include "diversity/mmr_ssd_greedy.hpp"

namespace karec {
namespace {

// A rule has the state of an item, its change by a pick with dot = ⟨φ, direction⟩, and its term of the score.
struct Mmr {
    static constexpr float kStart = -1.0f;  // state: the largest similarity so far, ≥ −1
    static float after(float largest, float dot) noexcept { return std::max(largest, dot); }
    static double penalty(float largest) noexcept { return -static_cast<double>(largest); }
    static constexpr bool kOrthogonal = false;
};

struct Ssd {
    static constexpr float kStart = 0.0f;  // state: ‖p‖², ‖φ‖² at first
    static float after(float squared, float dot) noexcept { return squared - dot * dot; }
    static double penalty(float squared) noexcept {
        return squared > kMinResidual ? std::sqrt(static_cast<double>(squared)) : 0.0;
    }
    static constexpr bool kOrthogonal = true;
};

template <class Rule>
Result<std::size_t> select(const MatrixView& embeddings, std::span<const float> relevance, const MmrSsdOptions& options,
                           std::span<std::int64_t> indices, std::span<double> scores) noexcept {
    return at_boundary([&]() -> Result<std::size_t> {
        if (indices.size() != scores.size()) return Status::invalid("indices and scores differ in length");
        if (embeddings.rows > std::numeric_limits<std::uint32_t>::max()) {
            return Status::invalid("at most 2^32 − 1 items");
        }
        // A copy: the values that are checked are the values that are sorted.
        const std::vector<float> copied_relevance(relevance.begin(), relevance.end());
        Status status = check_float(embeddings, "embeddings");
        if (status.ok()) status = check_item_column("relevance", relevance.size(), embeddings);
        if (status.ok()) status = check_finite(copied_relevance, "relevance");
        if (!status.ok()) return status;
        if (!(options.diversity >= 0.0 && options.diversity <= 1.0)) {
            return Status::invalid("diversity must lie in [0, 1], got " + std::to_string(options.diversity));
        }
        const auto rows = FeatureRows::make(embeddings, options);
        if (!rows.ok()) return rows.status();
        const std::size_t k = std::min(indices.size(), embeddings.rows);
        return MmrSsdGreedy<Rule>(rows.value(), copied_relevance, options.diversity)
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
