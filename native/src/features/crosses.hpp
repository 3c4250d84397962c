// Cross features of N items and their user, one for all items or one for each, from codes (karec/features/crosses.py
// defines them).
//
// Algorithm  One user: the codes of their lists are entries of a hash table per category, with one lookup per item. The
//            vectors of the history and the mean vectors of both lists are packed in blocks, so that a kernel computes
//            all inner products of an item at once. One user per item: a scan of that user's lists.
// Cost       One user: O(N·(I + P + V·D) + (H + S)·I) for H history and S skipped slots, I categories, P shared ones,
//            V items of the history with a vector of D numbers. One user per item: O(N·((H + S)·I + V·D)). The lists of
//            affinities count as further slots. ALS: features/als.hpp, once for each user.
// Bits       Inner products have one order of summation on every instruction set. Rates are added in the order of the
//            slots. The rest is exact, or float64 that is rounded once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "features/als.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::size_t kMatches = 4;         // columns of each category
inline constexpr std::size_t kCowatchCrosses = 3;  // columns of co-watch vectors

// What affinities read (karec/features/affinities.py defines them): further lists, and either the rates of items by
// code of the first category, or the shares of the values of each category by code. The first number is the mean rate,
// or the share of a value without a code. All are above 0. Each category has numbers.
struct AffinityInputs {
    std::span<const std::int64_t> history;  // (U, ·, I), newest first; 0 = missing
    std::span<const std::int64_t> skipped;  // (U, ·, I)
    std::span<const double> rates;
    std::span<const std::span<const double>> shares;  // (I,); none if there are rates

    bool empty() const noexcept { return rates.empty() && shares.empty(); }
};

// Codes of U users, U = 1 or N, in C order. The caller checks the lengths. Each value is read once.
struct CrossInputs {
    std::size_t n_items = 0;
    std::size_t n_users = 0;
    std::size_t n_categories = 0;           // I
    std::span<const std::int64_t> history;  // (U, H, I), newest first; 0 = missing
    std::span<const std::int64_t> skipped;  // (U, S, I)
    std::span<const std::int64_t> items;    // (N, I)
    // If items have creators: their column, and (U, ·) codes of creators.
    bool has_creators = false;
    std::size_t creator = 0;
    std::span<const std::int64_t> follows;
    std::span<const std::int64_t> friends;
    std::span<const std::int64_t> alike;  // (U, P), the user's codes of shared categories
    std::span<const std::size_t> shared;  // (P,), their columns in `items`
    // If there are co-watch vectors: (K + 1, D) with zeros in row 0, and rows of it: (U, H), (U, S), (N,); 0 = none.
    std::span<const float> vectors;
    std::size_t dim = 0;  // D; 0 = no vectors
    std::span<const std::int64_t> history_cowatch;
    std::span<const std::int64_t> skipped_cowatch;
    std::span<const std::int64_t> cowatch;  // empty: their columns are not written
    AlsFactors als;                         // if there are co-watch vectors: factors of the same rows
    AffinityInputs affinities;              // empty: no affinities
    // If rows have positions: (N,), 1 = first, 0 = unknown; empty: all are unknown.
    bool has_positions = false;
    std::span<const std::int64_t> positions;

    std::size_t first_cowatch() const noexcept {  // its column; the others are before and after it
        return kMatches * n_categories + (has_creators ? 2 : 0) + shared.size();
    }
    std::size_t als_column() const noexcept { return first_cowatch() + (dim > 0 ? kCowatchCrosses : 0); }
    std::size_t first_affinity() const noexcept { return als_column() + (als.dim > 0 ? 1 : 0); }
    std::size_t position() const noexcept { return first_affinity() + (affinities.empty() ? 0 : n_categories); }
    std::size_t width() const noexcept { return position() + (has_positions ? 1 : 0); }  // X
    // The category whose code is all that column `column` reads of an item; I if it reads more. The item's own id is
    // category 0.
    std::size_t category_of(std::size_t column) const noexcept;
};

// Writes out (N, X). Columns, the first four for all categories: in_history and in_skipped, ln(1 + number of slots with
// the item's code); newest_in_history and newest_in_skipped, 1 / (1 + first such slot), 0 without one; followed,
// friend; alike; the largest and the mean cosine with the history, and the mean one with the skipped items; the
// inner product with the user's ALS vector; the affinity of each category, 0 for code 0; ln(position), 0 if it is
// unknown. A cosine is NaN if a vector has NaN.
// invalid_argument: a row outside of the vectors.
Status compute_crosses(const CrossInputs& inputs, std::span<float> out);

}  // namespace karec
