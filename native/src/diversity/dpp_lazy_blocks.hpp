// The items of a DPP in blocks, and the gains of each block as far as somebody needed them.
//
// Items are sorted by their first gain and stand in blocks of 64 (FeatureBlocks). ρ only falls, so a block's last known
// largest gain bounds it: a block whose bound is below the best gain so far is left alone, and catches up later with
// every direction that it missed, in order. The result is the same bits as if every block were kept up to date.
//
// A block that was left alone for long has a bound from long ago. cap() lowers all of them at once by what is known of
// every unit vector: once the picks span the space, no ρ is above ridge + λ, λ the residual's largest eigenvalue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "diversity/dpp_problem.hpp"
#include "diversity/feature_blocks.hpp"

namespace karec {

struct DppPick {
    static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
    double gain = 0.0;
    std::size_t item = kNone;
};

class DppLazyBlocks {
  public:
    explicit DppLazyBlocks(const DppProblem& problem);

    // A direction u, in the features' space: ρ_i falls by ⟨feature_i, u⟩². `permanent` directions are there for good;
    // the others (a window's) are applied to a copy of ρ and may be replaced.
    void add_permanent(std::span<const double> direction);
    void add_passing(std::span<const double> direction);
    void clear_passing() noexcept;

    // Says that no item's part ⟨feature, M feature⟩ is above `most` from now on, M what the permanent directions leave.
    void cap(double most);

    // How often a block was followed in one permanent direction since the last cap().
    std::size_t followed() const noexcept { return followed_; }

    // The remaining item with the largest gain, ties by lowest index; kNone if every gain is 0.
    DppPick best();

    // From now on the item's gain is 0, until restore().
    void remove(std::size_t item);
    void restore(std::size_t item);

  private:
    // Directions as the kernel reads them.
    struct Directions {
        std::vector<float> values;     // (count, dim)
        std::vector<float> type_part;  // (count, n_types): what the one-hot part of a feature contributes
        std::size_t count = 0;
    };

    struct Block {
        std::size_t seen = 0;  // permanent directions that its ρ knows of
        bool stale = true;     // its bound does not fit its ρ and q² (it is still a bound)
    };

    void add(std::span<const double> direction, Directions& to) const;
    void apply(std::size_t b, const Directions& directions, std::size_t first, std::size_t last, float* rho);
    double largest(std::size_t b, const float* rho, double* gains) const noexcept;
    void catch_up(std::size_t b, double best_gain);
    double with_passing(std::size_t b, double best_gain, double* gains);
    void look_into(std::size_t b, DppPick& best);

    const DppProblem& problem_;
    FeatureBlocks features_;            // place → item: by first gain, largest first
    std::vector<std::uint32_t> place_;  // item → place
    std::vector<double> q2_;            // by place, padded; 0 = removed
    std::vector<float> rho_;
    std::vector<float> least_rho_;
    std::vector<Block> blocks_;
    std::vector<double> bounds_;   // no gain of block b is above bounds_[b]
    std::vector<double> most_q2_;  // of block b at first
    double most_rho_ = std::numeric_limits<double>::infinity();
    std::size_t followed_ = 0;
    Directions permanent_;
    Directions passing_;
};

}  // namespace karec
