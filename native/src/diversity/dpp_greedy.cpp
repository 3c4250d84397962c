// dpp_select: exact greedy on vectors, over a matrix or rows of an index in place.
//
// Algorithm  Items are compared by q²·ρ with ρ in float32 (DppLazyBlocks). ρ of the winner is then computed in float64
//            (DppConditionalVariance): it decides if the item adds anything, and it scales the direction. So float32
//            rounding neither picks items past the kernel's rank nor accumulates along the selection.
// Cost       karec/dpp.hpp; far fewer blocks are updated if relevance differs.
// Source     L. Chen, G. Zhang, H. Zhou, "Fast Greedy MAP Inference for Determinantal Point Process", 2018, rewritten
//            for L = diag(q)(S + ridge·I)diag(q).
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/fixed_math.hpp"
#include "base/read_once.hpp"
#include "diversity/dpp_conditional_variance.hpp"
#include "diversity/dpp_lazy_blocks.hpp"
#include "diversity/dpp_problem.hpp"
#include "diversity/dpp_type_quota.hpp"
#include "index/generation.hpp"
#include "karec/dpp.hpp"
#include "karec/index_view.hpp"
#include "search/search_checks.hpp"

namespace karec {
namespace {

class Greedy {
  public:
    Greedy(const DppProblem& problem, const DppOptions& options)
        : problem_(problem),
          options_(options),
          variance_(problem),
          blocks_(problem),
          is_taken_(problem.n(), false),
          quota_(options.types, options.max_per_type, options.min_per_type) {
        for (std::size_t row = problem.n(); row < problem.rows.n_rows(); ++row) {
            const double rho = variance_.rho(row);
            if (rho > kMinGainFraction * variance_.first_rho()) add_permanent(rho);
        }
    }

    DppCount run(std::span<std::int64_t> indices, std::span<double> gains) {
        const bool has_window = options_.window && *options_.window < indices.size();
        DppCount count;
        while (count.selected < indices.size()) {
            if (!is_only_owed_ && quota_.is_all_owed(indices.size() - count.selected)) remove_types_not_owed();
            if (has_window) set_window(indices.first(count.selected), *options_.window - 1);
            double rho = 0.0;
            const std::size_t item = next(has_window, rho);
            if (item == DppPick::kNone) break;
            if (!has_window) {
                add_permanent(rho);
                lower_bounds();
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
    // Adds the row of the last variance_.rho().
    void add_permanent(double rho) {
        const DppDirection direction = variance_.add(rho, true);
        blocks_.add_slot_rows(direction.slot_rows);
        blocks_.add_permanent(direction.vector, direction.offsets);
        ++n_directions_;
    }

    // Computes the bound after twice as many updates as it costs, and after twice as many again if it hardly fell.
    void lower_bounds() {
        if (n_directions_ <= problem_.dim()) return;
        if (blocks_.n_updates() < updates_per_cost_ * variance_.bound_cost()) return;
        const double bound = variance_.bound();
        if (bound > 0.9 * last_bound_) updates_per_cost_ *= 2;
        last_bound_ = bound;
        blocks_.lower_bounds(bound);
    }

    // Sets the directions of the window to those of the last `n` picks, given shown rows.
    void set_window(std::span<const std::int64_t> picks, std::size_t n) {
        variance_.clear_window();
        blocks_.clear_window();
        for (const std::int64_t pick : picks.last(std::min(n, picks.size()))) {
            const double rho = variance_.rho(static_cast<std::size_t>(pick));
            const DppDirection direction = variance_.add(rho, false);
            blocks_.add_slot_rows(direction.slot_rows);
            blocks_.add_window(direction.vector, direction.offsets);
        }
    }

    // Returns the item with the largest gain that its float64 ρ confirms. It is the item of the last variance_.rho().
    std::size_t next(bool has_window, double& rho) {
        std::vector<std::size_t> passed_over;
        DppPick pick = blocks_.best();
        for (; pick.item != DppPick::kNone; pick = blocks_.best()) {
            rho = variance_.rho(pick.item);
            if (rho > kMinGainFraction * problem_.first_rho[pick.item] && problem_.q2[pick.item] * rho > 0.0) break;
            blocks_.remove(pick.item);
            passed_over.push_back(pick.item);
        }
        // An item that adds nothing now adds nothing later, unless the window moves.
        if (has_window) {
            for (const std::size_t item : passed_over) blocks_.restore(item);
        }
        return pick.item;
    }

    void take(std::size_t item) {
        is_taken_[item] = true;
        quota_.take(item);
        blocks_.remove(item);
        if (!quota_.is_limited()) return;
        if (!quota_.is_full(item) && (!is_only_owed_ || quota_.is_owed(item))) return;
        for (const std::uint32_t other : quota_.items_of_same_type(item)) blocks_.remove(other);
    }

    // From now on every free position is owed to some type: removes the items of all other types.
    void remove_types_not_owed() {
        is_only_owed_ = true;
        for (std::size_t i = 0; i < problem_.n(); ++i) {
            if (!is_taken_[i] && !quota_.is_owed(i)) blocks_.remove(i);
        }
    }

    void fill(std::span<std::int64_t> indices, std::span<double> gains, DppCount& count) {
        if (count.selected == indices.size()) return;
        std::vector<std::size_t> rest;
        for (std::size_t i = 0; i < problem_.n(); ++i) {
            if (!is_taken_[i]) rest.push_back(i);
        }
        // By log q, since q may have underflowed, then by relevance, if q is 0 or alpha infinite.
        std::stable_sort(rest.begin(), rest.end(), [this](std::size_t a, std::size_t b) {
            const double q_a = problem_.log_q[a];
            const double q_b = problem_.log_q[b];
            return q_a != q_b ? q_a > q_b : problem_.relevance[a] > problem_.relevance[b];
        });
        for (const std::size_t item : rest) {
            if (count.selected == indices.size()) return;
            if (!quota_.is_allowed(item, indices.size() - count.selected)) continue;
            quota_.take(item);
            indices[count.selected] = static_cast<std::int64_t>(item);
            gains[count.selected] = 0.0;
            ++count.selected;
        }
    }

    const DppProblem& problem_;
    const DppOptions& options_;
    DppConditionalVariance variance_;
    DppLazyBlocks blocks_;
    std::vector<bool> is_taken_;
    TypeQuota quota_;
    bool is_only_owed_ = false;     // every free position is owed to some type
    std::size_t n_directions_ = 0;  // permanent ones
    std::size_t updates_per_cost_ = 2;
    double last_bound_ = std::numeric_limits<double>::infinity();
};

}  // namespace

Result<DppCount> dpp_select_rows(const VectorRows& items, std::span<const float> relevance, const DppOptions& options,
                                 std::span<std::int64_t> indices, std::span<double> gains) {
    if (indices.size() != gains.size()) return Status::invalid("indices and gains differ in length");
    if (items.rows > std::numeric_limits<std::uint32_t>::max()) {
        return Status::invalid("a DPP takes at most 2^32 − 1 items");
    }
    const auto problem = DppProblem::make(items, relevance, options);
    if (!problem.ok()) return problem.status();
    const std::size_t k = std::min(indices.size(), items.rows);
    return Greedy(problem.value(), options).run(indices.first(k), gains.first(k));
}

Result<DppCount> dpp_select(MatrixView embeddings, std::span<const float> relevance, const DppOptions& options,
                            std::span<std::int64_t> indices, std::span<double> gains) noexcept {
    return at_boundary([&]() -> Result<DppCount> {
        if (Status status = check_float(embeddings, "embeddings"); !status.ok()) return status;
        return dpp_select_rows(embeddings, relevance, options, indices, gains);
    });
}

Result<DppCount> IndexView::dpp_select(const Rows& rows, std::span<const float> relevance, const DppOptions& options,
                                       std::span<std::int64_t> indices, std::span<double> gains) const noexcept {
    return at_boundary([&]() -> Result<DppCount> {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        if (Status status = check_generation(rows, g); !status.ok()) return status;
        const std::size_t n = rows.values.size();
        std::vector<const std::byte*> addresses(n);
        std::vector<float> scales;
        const bool has_scales = g.format.dtype == DType::int8 && !g.has_exact_rows;
        if (has_scales) scales.resize(n);
        for (std::size_t i = 0; i < n; ++i) {
            const std::int32_t value = read_once(rows.values[i]);
            const auto row = static_cast<std::size_t>(value);
            if (value < 0 || row >= g.n_rows() || g.removed.has(row)) {
                return Status::invalid("rows holds " + std::to_string(value) + " at position " + std::to_string(i) +
                                       ": the index has no item there");
            }
            addresses[i] = g.has_exact_rows ? g.exact_rows.at(row) : g.rows.at(row);
            if (has_scales) scales[i] = g.scale_of(row);
        }
        VectorRows vectors;
        vectors.rows = n;
        vectors.cols = g.format.dim;
        vectors.dtype = g.has_exact_rows ? DType::float32 : g.format.dtype;
        vectors.addresses = addresses;
        vectors.scales = scales;
        return dpp_select_rows(vectors, relevance, options, indices, gains);
    });
}

}  // namespace karec
