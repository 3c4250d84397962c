// The items of a DPP in blocks whose gains are updated lazily.
//
// Items are sorted by first gain into blocks of 64 (FeatureBlocks). ρ only falls, so a block's last computed largest
// gain is an upper bound. A block whose bound is below the best gain so far is not updated; later it applies the
// directions that it missed, in order. The result is the same bits as if every block were always up to date.
//
// The bound of a block that was not updated for long is loose. cap() lowers all bounds at once: for unit features no ρ
// is above ridge + λ, with λ the largest eigenvalue of the residual.
//
// Invariants:
//   - bounds_[b] ≥ the gain of every item of block b in the permanent directions.
//   - ρ of block b includes the permanent directions 0 … blocks_[b].seen − 1, applied in order, and no others.
//   - stale: bounds_[b] was not computed from the block's present ρ and q², but is a bound.
//   - q2_ of a removed item is 0, so that its gain is 0.
//   - slots_at_ of a block are in the order of their slots: a direction's offsets reach a first part of them.
//   - Passing directions change copies of ρ alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/scratch.hpp"
#include "diversity/dpp_problem.hpp"
#include "diversity/facet_values.hpp"
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

    // Items that have the value of a new slot; slots come in ascending order. Other rows than items are left out.
    void join(std::span<const SlotOfRow> rows);

    // A direction u (D), with offsets by slot: ρ_i falls by (⟨feature_i, u⟩ + Σ the offsets of i's slots)².
    // Permanent directions stay; passing ones (those of a window) are applied to a copy of ρ and can be cleared.
    void add_permanent(std::span<const float> direction, std::span<const float> offsets);
    void add_passing(std::span<const float> direction, std::span<const float> offsets);
    void clear_passing() noexcept;

    // Lowers all bounds: from now on ρ − ridge ≤ `most` for every item.
    void cap(double most);

    // Updates of a block by one permanent direction since the last cap(): the work that a tighter bound could save.
    std::size_t followed() const noexcept { return followed_; }

    // The remaining item with the largest gain, ties by lowest index; kNone if every gain is 0.
    DppPick best();

    // Sets the item's gain to 0 until restore().
    void remove(std::size_t item);
    void restore(std::size_t item);

  private:
    // Directions as the kernel reads them.
    struct Directions {
        ScratchVector<float> values;             // (count, dim)
        ScratchVector<float> offsets;            // of one direction after the other
        std::vector<std::size_t> offsets_to{0};  // direction s has offsets[offsets_to[s] … offsets_to[s + 1] − 1]
        std::size_t count = 0;

        void add(std::span<const float> direction, std::span<const float> offsets_by_slot);
        void clear() noexcept;
        std::span<const float> offsets_of(std::size_t s) const noexcept {
            return std::span(offsets).subspan(offsets_to[s], offsets_to[s + 1] - offsets_to[s]);
        }
    };

    struct SlotAt {
        std::uint32_t slot;
        std::uint32_t at;  // in the block
    };

    struct Block {
        std::size_t seen = 0;  // permanent directions that its ρ includes
        bool stale = true;     // its bound is not computed from its present ρ and q²
    };

    void apply(std::size_t b, const Directions& directions, std::size_t first, std::size_t last, float* rho);
    double largest(std::size_t b, const float* rho, double* gains) const noexcept;
    void catch_up(std::size_t b, double best_gain);
    double with_passing(std::size_t b, double best_gain, double* gains);
    void look_into(std::size_t b, DppPick& best);

    const DppProblem& problem_;
    FeatureBlocks features_;            // place → item: by first gain, largest first
    std::vector<std::uint32_t> place_;  // item → place
    std::size_t most_slots_;            // of a block: its items' facets
    ScratchVector<SlotAt> slots_at_;    // (blocks, most_slots_)
    std::vector<std::size_t> n_slots_;  // of each block
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
