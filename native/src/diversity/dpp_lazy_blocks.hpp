// The items of a DPP in blocks whose gains are updated lazily.
//
// Algorithm  Items are sorted by first gain into blocks of 64 (FeatureBlocks). ρ only falls, so the last
//            computed largest gain of a block is an upper bound. A block whose bound is below the best gain so far is
//            not updated; later it applies the missing directions, in order. So results have the same bits as if all
//            blocks were always up to date. The bound of a block that was not updated for long is loose: lower_bounds()
//            lowers all bounds at once, since for unit features no ρ is above ridge + λ, with λ the largest eigenvalue
//            of the residual.
// Cost       O(D) for each item and direction, for blocks that can still win; memory 4·D bytes an item.
// Source     Lazy greedy: M. Minoux, "Accelerated Greedy Algorithms for Maximizing Submodular Set Functions", 1978.
//
// Invariants
//   - bounds_[b] ≥ the gain of every item of block b, given permanent directions.
//   - ρ of block b includes permanent directions 0 … blocks_[b].n_applied − 1, applied in order, and no others.
//   - is_stale: bounds_[b] is a bound that was not computed from the block's present ρ and q².
//   - q2_ of a removed item is 0, so that its gain is 0.
//   - slot_places_ of a block are in the order of slots: a direction has offsets for the first of them.
//   - Directions of the window change only copies of ρ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/scratch.hpp"
#include "diversity/dpp_problem.hpp"
#include "diversity/facet_slots.hpp"
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

    // Adds rows that have the value of a new slot; slots are added in ascending order. Ignores rows that are not items.
    void add_slot_rows(std::span<const SlotRow> rows);

    // Adds a direction u (D), with offsets by slot: ρ_i falls by (⟨feature_i, u⟩ + Σ offsets of i's slots)². Directions
    // of a window apply to a copy of ρ and can be cleared.
    void add_permanent(std::span<const float> direction, std::span<const float> offsets);
    void add_window(std::span<const float> direction, std::span<const float> offsets);
    void clear_window() noexcept { window_.clear(); }

    // Lowers all bounds: from now on ρ − ridge ≤ max_variance for every item.
    void lower_bounds(double max_variance);

    // Updates of a block by one permanent direction since the last lower_bounds(). A tighter bound could save them.
    std::size_t n_updates() const noexcept { return n_updates_; }

    // The remaining item with the largest gain, ties by lowest index; kNone if every gain is 0.
    DppPick best();

    // Sets the item's gain to 0 until restore().
    void remove(std::size_t item);
    void restore(std::size_t item);

  private:
    // Directions as the kernel reads them.
    struct Directions {
        ScratchVector<float> values;              // (count, dim)
        ScratchVector<float> offsets;             // of one direction after the other
        std::vector<std::size_t> offset_ends{0};  // direction s has offsets offset_ends[s] … offset_ends[s + 1] − 1
        std::size_t count = 0;

        void add(std::span<const float> direction, std::span<const float> slot_offsets);
        void clear() noexcept;
        std::span<const float> offsets_of(std::size_t s) const noexcept {
            return std::span(offsets).subspan(offset_ends[s], offset_ends[s + 1] - offset_ends[s]);
        }
    };

    struct SlotPlace {
        std::uint32_t slot;
        std::uint32_t place;  // in the block
    };

    struct Block {
        std::size_t n_applied = 0;
        bool is_stale = true;
    };

    void apply(std::size_t b, const Directions& directions, std::size_t first, std::size_t last, float* rho);
    double largest_gain(std::size_t b, const float* rho, double* gains) const noexcept;
    void update(std::size_t b, double best_gain);
    double apply_window(std::size_t b, double best_gain, double* gains);
    void compare(std::size_t b, DppPick& best);

    const DppProblem& problem_;
    FeatureBlocks features_;                // places by first gain, largest first
    std::vector<std::uint32_t> place_;      // by item
    std::size_t max_slots_;                 // of a block: facets of its items
    ScratchVector<SlotPlace> slot_places_;  // (blocks, max_slots_)
    std::vector<std::size_t> n_slots_;      // of each block
    std::vector<double> q2_;                // by place, padded; 0 = removed
    std::vector<float> rho_;
    std::vector<float> min_rho_;
    std::vector<Block> blocks_;
    std::vector<double> bounds_;
    std::vector<double> max_q2_;  // of each block at first
    double max_rho_ = std::numeric_limits<double>::infinity();
    std::size_t n_updates_ = 0;
    Directions permanent_;
    Directions window_;
};

}  // namespace karec
