// dpp_select: exact greedy in embedding space, on lazily updated blocks.
//
// Items are compared by q²·ρ with ρ in float32 (DppLazyBlocks). The ρ of the winner is then computed again in float64:
// it decides whether the item adds anything, and it scales the direction. So float32 rounding neither picks items past
// the kernel's rank nor accumulates along the selection. What rows explain of each other is in Explained. At most
// O(N·k·D); far fewer blocks are touched when relevance differs. Source: the definition in karec/dpp.hpp (Chen et al.
// 2018), rewritten for L = diag(q)(F Fᵀ + ridge·I)diag(q).
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/fixed_math.hpp"
#include "diversity/dpp_lazy_blocks.hpp"
#include "diversity/dpp_problem.hpp"
#include "diversity/explained.hpp"
#include "diversity/type_quota.hpp"
#include "karec/dpp.hpp"

namespace karec {
namespace {

class Greedy {
  public:
    Greedy(const DppProblem& problem, const DppOptions& options)
        : problem_(problem),
          options_(options),
          explained_(problem),
          blocks_(problem),
          taken_(problem.n(), false),
          quota_(problem.type_of, problem.n_types, options.max_per_type, options.min_per_type) {
        for (std::size_t row = 0; row < options.shown.rows; ++row) {
            const double rho = explained_.rho(problem.n() + row);
            if (rho > kLeastShare * explained_.first_rho()) add_permanent(rho);
        }
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
                add_permanent(rho);
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
    // Of the row that explained_ was last asked for.
    void add_permanent(double rho) {
        const DppDirection direction = explained_.count(rho, true);
        blocks_.join(direction.joined);
        blocks_.add_permanent(direction.vector, direction.offsets);
        ++n_directions_;
    }

    // Only after twice as much work as the bound costs; after twice as much again each time that it hardly fell.
    void cap_gains() {
        if (n_directions_ <= problem_.dim()) return;
        if (blocks_.followed() < patience_ * explained_.price_of_bound()) return;
        const double bound = explained_.bound();
        if (bound > 0.9 * bound_) patience_ *= 2;
        bound_ = bound;
        blocks_.cap(bound);
    }

    // Sets the passing directions to those of the last `n` picks, conditioned on what was shown.
    void look_back(std::span<const std::int64_t> picks, std::size_t n) {
        explained_.clear_passing();
        blocks_.clear_passing();
        for (const std::int64_t pick : picks.last(std::min(n, picks.size()))) {
            const double rho = explained_.rho(static_cast<std::size_t>(pick));
            const DppDirection direction = explained_.count(rho, false);
            blocks_.join(direction.joined);
            blocks_.add_passing(direction.vector, direction.offsets);
        }
    }

    // The item with the largest gain that its exact ρ confirms; explained_ was asked for it last.
    std::size_t next(bool windowed, double& rho) {
        std::vector<std::size_t> passed_over;
        DppPick pick = blocks_.best();
        for (; pick.item != DppPick::kNone; pick = blocks_.best()) {
            rho = explained_.rho(pick.item);
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
    Explained explained_;
    DppLazyBlocks blocks_;
    std::vector<bool> taken_;
    TypeQuota quota_;
    bool only_owed_ = false;        // every place left is owed to some type
    std::size_t n_directions_ = 0;  // permanent ones
    std::size_t patience_ = 2;
    double bound_ = std::numeric_limits<double>::infinity();  // the last one
};

}  // namespace

Result<DppCount> dpp_select_rows(const VectorRows& embeddings, std::span<const float> relevance,
                                 const DppOptions& options, std::span<std::int64_t> indices, std::span<double> gains) {
    if (indices.size() != gains.size()) return Status::invalid("indices and gains differ in length");
    if (embeddings.rows > std::numeric_limits<std::uint32_t>::max()) {
        return Status::invalid("a DPP takes at most 2^32 − 1 items");
    }
    // Shown rows without dimensions and facets change no result and need no memory: a caller may pass any number of
    // them.
    DppOptions own = options;
    if (embeddings.cols == 0 && own.shown.cols == 0 && own.shown_facets.empty()) own.shown.rows = 0;
    auto problem = pose_dpp(embeddings, relevance, own);
    if (!problem.ok()) return problem.status();
    const std::size_t k = std::min(indices.size(), embeddings.rows);
    return Greedy(problem.value(), own).run(indices.first(k), gains.first(k));
}

Result<DppCount> dpp_select(MatrixView embeddings, std::span<const float> relevance, const DppOptions& options,
                            std::span<std::int64_t> indices, std::span<double> gains) noexcept {
    return at_boundary([&]() -> Result<DppCount> {
        if (Status status = check_float(embeddings, "embeddings"); !status.ok()) return status;
        return dpp_select_rows(embeddings, relevance, options, indices, gains);
    });
}

}  // namespace karec
