// mmr_select and ssd_select: greedy over blocks of items sorted by relevance.
//
// Without a window, scores only fall as picks are added. A block whose last computed best score is below the best so
// far is not updated; later it applies the directions that it missed, in order: the same bits as if every block were
// always up to date. With a window scores can rise again, and every block is updated at every pick.
#include "karec/mmr_ssd.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "diversity/feature_blocks.hpp"
#include "kernels/isa_table.hpp"

namespace karec {
namespace {

constexpr double kLeastResidual = 1e-5;

// A selection rule: the state of an item, its change by a pick (dot = ⟨item, direction⟩), and the term of the score.
struct Mmr {
    static constexpr float kStart = -1.0f;  // the largest cosine so far; none is smaller
    static float after(float largest, float dot) noexcept { return std::max(largest, dot); }
    static double penalty(float largest) noexcept { return -static_cast<double>(largest); }
    static constexpr bool kOrthogonal = false;
};

struct Ssd {
    static constexpr float kStart = 1.0f;  // ‖p‖²
    static float after(float squared, float dot) noexcept { return squared - dot * dot; }
    static double penalty(float squared) noexcept {
        return squared > kLeastResidual ? std::sqrt(static_cast<double>(squared)) : 0.0;
    }
    static constexpr bool kOrthogonal = true;
};

std::vector<std::uint32_t> by_relevance(std::span<const float> relevance) {
    std::vector<std::uint32_t> order(relevance.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return relevance[a] > relevance[b]; });
    return order;
}

template <class Rule>
class Greedy {
  public:
    Greedy(const MatrixView& embeddings, std::span<const double> squared_norms, std::span<const float> relevance,
           const MmrSsdOptions& options)
        : embeddings_(embeddings),
          squared_norms_(squared_norms),
          diversity_(options.diversity),
          features_(embeddings, squared_norms, 1.0, by_relevance(relevance)),
          state_(features_.count() * kBlockItems, Rule::kStart),
          value_(features_.count() * kBlockItems, -std::numeric_limits<double>::infinity()),
          seen_(features_.count(), 0),
          bounds_(features_.count()),
          feature_(embeddings.cols),
          direction_(embeddings.cols) {
        for (std::size_t place = 0; place < features_.size(); ++place) {
            const std::size_t item = features_.item(place);
            value_[place] = (1.0 - diversity_) * relevance[item];
            if (Rule::kOrthogonal && !(squared_norms[item] > 0.0)) state_[place] = 0.0f;
        }
        for (std::size_t b = 0; b < bounds_.size(); ++b) bounds_[b] = best_of(b, state_.data());
        for (std::size_t row = 0; row < options.shown.rows; ++row) add_shown(options.shown, row);
        n_shown_ = n_directions();
    }

    std::size_t run(std::optional<std::size_t> window, std::span<std::int64_t> indices, std::span<double> scores) {
        const bool windowed = window && *window < indices.size();
        if (windowed) start_window(*window - 1);
        for (std::size_t t = 0; t < indices.size(); ++t) {
            if (windowed) slide();
            const bool nothing = n_directions() == 0;
            const std::size_t place = windowed ? best_in_window() : best();
            const std::size_t item = features_.item(place);
            const float* state = windowed ? window_state_.data() : state_.data();
            indices[t] = static_cast<std::int64_t>(item);
            scores[t] = nothing && !Rule::kOrthogonal ? value_[place] : score(place, state);  // max of nothing is 0
            value_[place] = -std::numeric_limits<double>::infinity();
            bounds_[place / kBlockItems] = std::numeric_limits<double>::infinity();
            scaled_row(embeddings_, item, length_factor(squared_norms_[item], 1.0), feature_);
            add_direction();
        }
        return indices.size();
    }

  private:
    std::size_t n_directions() const noexcept {
        return embeddings_.cols == 0 ? 0 : directions_.size() / embeddings_.cols;
    }

    double score(std::size_t place, const float* state) const noexcept {
        return value_[place] + diversity_ * Rule::penalty(state[place]);
    }

    double best_of(std::size_t b, const float* state) const noexcept {
        double best = -std::numeric_limits<double>::infinity();
        for (std::size_t i = b * kBlockItems; i < (b + 1) * kBlockItems; ++i) best = std::max(best, score(i, state));
        return best;
    }

    void add_shown(const MatrixView& shown, std::size_t row) {
        scaled_row(shown, row, 1.0, feature_);
        double squared_norm = 0.0;
        for (const double x : feature_) squared_norm += x * x;
        for (double& x : feature_) x *= length_factor(squared_norm, 1.0);
        add_direction();
    }

    // Adds the direction of feature_: itself (MMR), or its part orthogonal to all directions so far, normalised (SSD).
    void add_direction() {
        direction_ = feature_;
        if (Rule::kOrthogonal) {
            std::vector<double> parts(n_directions());
            diversity_kernels().gram_schmidt(directions_.data(), parts.size(), feature_.size(), feature_.data(),
                                             parts.data(), direction_.data());
            double squared = 0.0;
            for (const double x : direction_) squared += x * x;
            const double factor = squared > kLeastResidual ? 1.0 / std::sqrt(squared) : 0.0;
            for (double& x : direction_) x *= factor;
        }
        directions_.insert(directions_.end(), direction_.begin(), direction_.end());
        for (const double x : direction_) float_directions_.push_back(static_cast<float>(x));
    }

    void dots_of(std::size_t b, std::size_t direction, float* dots) {
        const std::size_t dim = embeddings_.cols;
        std::fill_n(dots, kBlockItems, 0.0f);
        scoring_kernels().gemv_packed(features_.block(b), dim, &float_directions_[direction * dim], dots);
    }

    void catch_up(std::size_t b, double best) {
        float* state = &state_[b * kBlockItems];
        float dots[kBlockItems];
        do {
            if (seen_[b] < n_directions()) {
                dots_of(b, seen_[b]++, dots);
                for (std::size_t i = 0; i < kBlockItems; ++i) state[i] = Rule::after(state[i], dots[i]);
            }
            bounds_[b] = best_of(b, state_.data());
        } while (seen_[b] < n_directions() && bounds_[b] >= best);
    }

    // Takes the first-listed best place of block b over where it wins.
    void contend(std::size_t b, const float* state, std::size_t& best, double& best_score) const noexcept {
        for (std::size_t place = b * kBlockItems; place < std::min(features_.size(), (b + 1) * kBlockItems); ++place) {
            const double here = score(place, state);
            if (here < best_score || here == -std::numeric_limits<double>::infinity()) continue;
            if (here == best_score && features_.item(place) > features_.item(best)) continue;
            best = place;
            best_score = here;
        }
    }

    std::size_t best() {
        std::size_t best = 0;
        double best_score = -std::numeric_limits<double>::infinity();
        for (std::size_t b = 0; b < bounds_.size(); ++b) {
            if (bounds_[b] < best_score) continue;
            catch_up(b, best_score);
            if (bounds_[b] >= best_score) contend(b, state_.data(), best, best_score);
        }
        return best;
    }

    // state_ keeps what was shown; ring_ keeps the dots of the last `size` picks, one row a pick.
    void start_window(std::size_t size) {
        for (std::size_t b = 0; b < bounds_.size(); ++b) {
            while (seen_[b] < n_directions()) catch_up(b, -std::numeric_limits<double>::infinity());
        }
        ring_.resize(size);
        window_state_ = state_;
    }

    void slide() {
        const std::size_t dim = embeddings_.cols;
        const std::size_t n_picks = n_directions() - n_shown_;
        if (n_picks > ring_.size()) {
            const auto oldest = static_cast<std::ptrdiff_t>(n_shown_ * dim);
            const auto next = static_cast<std::ptrdiff_t>((n_shown_ + 1) * dim);
            directions_.erase(directions_.begin() + oldest, directions_.begin() + next);
            float_directions_.erase(float_directions_.begin() + oldest, float_directions_.begin() + next);
        }
        if (n_picks == 0 || ring_.empty()) return;
        std::rotate(ring_.begin(), ring_.begin() + (n_picks > ring_.size() ? 1 : 0), ring_.end());
        const std::size_t in_ring = std::min(n_picks, ring_.size());
        std::vector<float>& newest = ring_[in_ring - 1];
        newest.resize(state_.size());
        for (std::size_t b = 0; b < bounds_.size(); ++b) {
            dots_of(b, n_directions() - 1, &newest[b * kBlockItems]);
        }
        window_state_ = state_;
        for (std::size_t s = 0; s < in_ring; ++s) {
            for (std::size_t i = 0; i < state_.size(); ++i) {
                window_state_[i] = Rule::after(window_state_[i], ring_[s][i]);
            }
        }
    }

    std::size_t best_in_window() const noexcept {
        std::size_t best = 0;
        double best_score = -std::numeric_limits<double>::infinity();
        for (std::size_t b = 0; b < bounds_.size(); ++b) contend(b, window_state_.data(), best, best_score);
        return best;
    }

    const MatrixView& embeddings_;
    std::span<const double> squared_norms_;
    double diversity_;
    FeatureBlocks features_;     // place → item: by relevance, largest first
    std::vector<float> state_;   // by place
    std::vector<double> value_;  // (1 − diversity)·r by place; −∞ = taken
    std::vector<std::size_t> seen_;
    std::vector<double> bounds_;
    std::vector<double> feature_;
    std::vector<double> direction_;
    std::vector<double> directions_;
    std::vector<float> float_directions_;
    std::size_t n_shown_ = 0;
    std::vector<std::vector<float>> ring_;
    std::vector<float> window_state_;
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
    if (Status status = check_finite(relevance, "relevance"); !status.ok()) return status;
    return check_finite(options.shown, "shown");
}

template <class Rule>
Result<std::size_t> select(const MatrixView& embeddings, std::span<const float> relevance, const MmrSsdOptions& options,
                           std::span<std::int64_t> indices, std::span<double> scores) noexcept {
    return at_boundary([&]() -> Result<std::size_t> {
        if (indices.size() != scores.size()) return Status::invalid("indices and scores differ in length");
        if (embeddings.rows > std::numeric_limits<std::uint32_t>::max()) {
            return Status::invalid("at most 2^32 − 1 items");
        }
        // Copied, so that the values that are checked are the values that are sorted, whoever writes to the caller's.
        const std::vector<float> own(relevance.begin(), relevance.end());
        if (Status status = check(embeddings, own, options); !status.ok()) return status;
        const auto norms = finite_squared_norms(embeddings, "embeddings");
        if (!norms.ok()) return norms.status();
        const std::size_t k = std::min(indices.size(), embeddings.rows);
        return Greedy<Rule>(embeddings, norms.value(), own, options)
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
