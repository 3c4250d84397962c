// dpp_select: exact greedy in embedding space, on lazily updated blocks.
//
// Items are compared by q²·ρ with ρ in float32 (DppLazyBlocks). The ρ of the winner is then computed again in float64:
// it decides whether the item adds anything, and it scales the direction. So float32 rounding neither picks items past
// the kernel's rank nor accumulates along the selection. Types enter by TypeEffects. At most O(N·k·D); far fewer blocks
// are touched when relevance differs. Source: the definition in karec/dpp.hpp (Chen et al. 2018), rewritten for L =
// diag(q)(F Fᵀ + ridge·I)diag(q).
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/fixed_math.hpp"
#include "diversity/dpp_lazy_blocks.hpp"
#include "diversity/dpp_problem.hpp"
#include "diversity/residual.hpp"
#include "diversity/type_effects.hpp"
#include "diversity/type_quota.hpp"
#include "karec/dpp.hpp"

namespace karec {
namespace {

class Greedy {
  public:
    Greedy(const DppProblem& problem, const DppOptions& options)
        : problem_(problem),
          options_(options),
          types_(problem),
          blocks_(problem, types_),
          residual_(problem.dim()),
          passing_(problem.dim()),
          feature_(problem.dim()),
          centred_(problem.dim()),
          direction_(problem.dim()),
          of_passing_(problem.dim()),
          float_direction_(problem.dim()),
          taken_(problem.n(), false),
          quota_(problem.type_of, problem.n_types, options.max_per_type, options.min_per_type),
          n_left_(problem.types_count() ? problem.n_types : 0, 0) {
        for (std::size_t i = 0; i < (n_left_.empty() ? 0 : problem.n()); ++i) ++n_left_[type_of(i)];
        for (std::size_t row = 0; row < options.shown.rows; ++row) condition_on_shown(row);
    }

    DppCount run(std::span<std::int64_t> indices, std::span<double> gains) {
        const bool windowed = options_.window && *options_.window < indices.size();
        DppCount count;
        while (count.selected < indices.size()) {
            if (!only_owed_ && quota_.forced(indices.size() - count.selected)) remove_what_is_not_owed();
            if (windowed) look_back(indices.first(count.selected), *options_.window - 1);
            double rho = 0.0;
            const std::size_t item = next(windowed, rho);
            if (item == DppPick::kNone) break;
            if (!windowed) {
                const std::size_t type = type_of(item);
                add_permanent(type, rho, type != TypeEffects::kNoType && --n_left_[type] == 0);
                cap_gains();
            }
            take(item);
            indices[count.selected] = static_cast<std::int64_t>(item);
            gains[count.selected] = problem_.q2[item] * rho;
            count.log_det += 2.0 * problem_.log_q[item] + fixed_log(rho);
            ++count.selected;
        }
        count.n_dpp = count.selected;
        if (options_.fill == DppFill::relevance) fill(indices, gains, count);
        return count;
    }

  private:
    std::size_t type_of(std::size_t item) const noexcept {
        return problem_.types_count() ? static_cast<std::size_t>(problem_.type_of[item]) : TypeEffects::kNoType;
    }

    // ρ of the feature in feature_, of an item of that type; leaves Q·h in direction_ (type_effects.hpp).
    double rho_of_feature(double first_rho, std::size_t type) {
        std::span<const double> h = feature_;
        double most = first_rho;
        if (types_.has_picks(type)) {
            types_.centre(type, feature_, centred_);
            h = centred_;
            most = problem_.ridge + types_.own(type);
            for (const double x : h) most += x * x;
        }
        double explained = residual_.apply(h, direction_);
        if (passing_.listed() > 0) {
            explained += passing_.apply(h, of_passing_);
            for (std::size_t j = 0; j < h.size(); ++j) direction_[j] -= h[j] - of_passing_[j];
        }
        return most - explained;
    }

    // Makes direction_, which holds Q·h, the direction of the feature in feature_, and counts that as a pick of its
    // type. Returns its offsets.
    std::span<const float> scale_direction(std::size_t type, double rho, bool last) {
        const double scale = 1.0 / std::sqrt(rho);
        for (std::size_t d = 0; d < direction_.size(); ++d) {
            direction_[d] *= scale;
            float_direction_[d] = static_cast<float>(direction_[d]);
        }
        return types_.pick(type, feature_, rho, float_direction_, last);
    }

    void add_permanent(std::size_t type, double rho, bool last) {
        const auto offsets = scale_direction(type, rho, last);
        residual_.add(direction_);
        blocks_.add_permanent(float_direction_, offsets);
        ++n_directions_;
        if (2 * residual_.listed() > problem_.dim()) residual_.fold();
    }

    // Only after twice as much work as the bound costs.
    void cap_gains() {
        if (n_directions_ > problem_.dim() && blocks_.followed() >= 2 * residual_.price_of_bound()) {
            blocks_.cap(types_.bound(residual_.bound()));
        }
    }

    void condition_on_shown(std::size_t row) {
        problem_.shown_feature(options_.shown, row, feature_);
        double first_rho = problem_.ridge;
        for (const double x : feature_) first_rho += x * x;
        const double rho = rho_of_feature(first_rho, TypeEffects::kNoType);
        if (rho > kLeastShare * first_rho) add_permanent(TypeEffects::kNoType, rho, true);
    }

    // Sets the passing directions to those of the last `n` picks, conditioned on what was shown.
    void look_back(std::span<const std::int64_t> picks, std::size_t n) {
        passing_.clear();
        blocks_.clear_passing();
        types_.clear();
        for (const std::int64_t pick : picks.last(std::min(n, picks.size()))) {
            const auto item = static_cast<std::size_t>(pick);
            problem_.feature(item, feature_);
            const double rho = rho_of_feature(problem_.first_rho[item], type_of(item));
            const auto offsets = scale_direction(type_of(item), rho, false);
            passing_.add(direction_);
            blocks_.add_passing(float_direction_, offsets);
        }
    }

    // The item with the largest gain that its exact ρ confirms; leaves M·feature in direction_.
    std::size_t next(bool windowed, double& rho) {
        std::vector<std::size_t> passed_over;
        DppPick pick = blocks_.best();
        for (; pick.item != DppPick::kNone; pick = blocks_.best()) {
            problem_.feature(pick.item, feature_);
            rho = rho_of_feature(problem_.first_rho[pick.item], type_of(pick.item));
            if (rho > kLeastShare * problem_.first_rho[pick.item] && problem_.q2[pick.item] * rho > 0.0) break;
            blocks_.remove(pick.item);
            passed_over.push_back(pick.item);
        }
        // An item that adds nothing now adds nothing later, unless the window moves.
        if (windowed) {
            for (const std::size_t item : passed_over) blocks_.restore(item);
        }
        return pick.item;
    }

    void take(std::size_t item) {
        taken_[item] = true;
        quota_.take(item);
        blocks_.remove(item);
        if (problem_.type_of.empty()) return;
        if (!quota_.is_full(item) && (!only_owed_ || quota_.is_owed(item))) return;
        for (const std::uint32_t other : quota_.items_like(item)) blocks_.remove(other);
    }

    // Every place left is owed to some type, now and to the end: removes the items of all other types.
    void remove_what_is_not_owed() {
        only_owed_ = true;
        for (std::size_t i = 0; i < problem_.n(); ++i) {
            if (!taken_[i] && !quota_.is_owed(i)) blocks_.remove(i);
        }
    }

    void fill(std::span<std::int64_t> indices, std::span<double> gains, DppCount& count) {
        if (count.selected == indices.size()) return;
        std::vector<std::size_t> rest;
        for (std::size_t i = 0; i < problem_.n(); ++i) {
            if (!taken_[i]) rest.push_back(i);
        }
        // log q, as q itself may have underflowed; relevance, where q is 0 or alpha infinite.
        std::stable_sort(rest.begin(), rest.end(), [this](std::size_t a, std::size_t b) {
            const double q_a = problem_.log_q[a];
            const double q_b = problem_.log_q[b];
            return q_a != q_b ? q_a > q_b : problem_.relevance[a] > problem_.relevance[b];
        });
        for (const std::size_t item : rest) {
            if (count.selected == indices.size()) return;
            if (!quota_.allows(item, indices.size() - count.selected)) continue;
            quota_.take(item);
            indices[count.selected] = static_cast<std::int64_t>(item);
            gains[count.selected] = 0.0;
            ++count.selected;
        }
    }

    const DppProblem& problem_;
    const DppOptions& options_;
    TypeEffects types_;  // of the picks that gains count
    DppLazyBlocks blocks_;
    Residual residual_;  // of the permanent directions
    Residual passing_;   // of the window's directions
    std::vector<double> feature_;
    std::vector<double> centred_;
    std::vector<double> direction_;
    std::vector<double> of_passing_;
    std::vector<float> float_direction_;
    std::vector<bool> taken_;
    TypeQuota quota_;
    bool only_owed_ = false;           // every place left is owed to some type
    std::vector<std::size_t> n_left_;  // items not taken, by type, where types count
    std::size_t n_directions_ = 0;     // permanent ones
};

}  // namespace

Result<DppCount> dpp_select_rows(const VectorRows& embeddings, std::span<const float> relevance,
                                 const DppOptions& options, std::span<std::int64_t> indices, std::span<double> gains) {
    if (indices.size() != gains.size()) return Status::invalid("indices and gains differ in length");
    if (embeddings.rows > std::numeric_limits<std::uint32_t>::max()) {
        return Status::invalid("a DPP takes at most 2^32 − 1 items");
    }
    auto problem = pose_dpp(embeddings, relevance, options);
    if (!problem.ok()) return problem.status();
    const std::size_t k = std::min(indices.size(), embeddings.rows);
    return Greedy(problem.value(), options).run(indices.first(k), gains.first(k));
}

Result<DppCount> dpp_select(MatrixView embeddings, std::span<const float> relevance, const DppOptions& options,
                            std::span<std::int64_t> indices, std::span<double> gains) noexcept {
    return at_boundary([&]() -> Result<DppCount> {
        if (Status status = check_float(embeddings, "embeddings"); !status.ok()) return status;
        return dpp_select_rows(embeddings, relevance, options, indices, gains);
    });
}

}  // namespace karec
