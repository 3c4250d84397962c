// Cross features of one user, or of one user an item, with N items, from the codes of their inputs (what they mean:
// karec/features/crosses.py).
//
// Algorithm  of one user: his lists' codes go into a hash table a category, which each item asks once; the vectors of
// the
//            works of his history, and the mean vectors of both lists, are packed, and each item's vector meets all of
//            them at once. Of a user an item: a walk along that user's lists.
// Cost       one user: O(N·(I + P + H_v·D) + (H + S)·I) for H history and S skipped slots, I categories, P shared ones,
// H_v
//            history works with a vector of D numbers; a user an item: O(N·((H + S)·I + H_v·D)).
// Bits       inner products have one order of summation on every instruction set; the rest is exact, or float64 rounded
//            once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "karec/status.hpp"

namespace karec {

inline constexpr std::size_t kMatches = 4;         // columns of each category
inline constexpr std::size_t kCowatchCrosses = 3;  // columns of co-watch vectors

// Codes, C-contiguous; of U users, U = 1 or N. The caller has checked the lengths. Each value is read once.
struct CrossInputs {
    std::size_t n_items = 0;
    std::size_t n_users = 0;
    std::size_t n_categories = 0;           // I
    std::span<const std::int64_t> history;  // (U, H, I), newest first; 0 = missing
    std::span<const std::int64_t> skipped;  // (U, S, I)
    std::span<const std::int64_t> items;    // (N, I)
    // Where works have creators: their column, and (U, ·) codes of creators.
    bool has_creators = false;
    std::size_t creator = 0;
    std::span<const std::int64_t> follows;
    std::span<const std::int64_t> friends;
    std::span<const std::int64_t> alike;  // (U, P), the user's values
    std::span<const std::size_t> shared;  // (P,), their columns of items
    // Where there are co-watch vectors: (K + 1, D), row 0 of zeros, and rows of it: (U, H), (U, S), (N,); 0 = none.
    std::span<const float> vectors;
    std::size_t dim = 0;  // D; 0 = there are none
    std::span<const std::int64_t> history_cowatch;
    std::span<const std::int64_t> skipped_cowatch;
    std::span<const std::int64_t> cowatch;

    std::size_t width() const noexcept {  // X
        return kMatches * n_categories + (has_creators ? 2 : 0) + shared.size() + (dim > 0 ? kCowatchCrosses : 0);
    }
};

// out (N, X): in_history, in_skipped (ln(1 + how many slots hold the item's code)), newest_in_history,
// newest_in_skipped (1 / (1 + place of the first such slot), 0 without), each for all categories; followed, friend;
// alike; the largest and the mean cosine with the history, the mean one with the skipped works, each NaN where a vector
// that it reads holds NaN. Refuses a row outside of the vectors.
Status crosses(const CrossInputs& inputs, std::span<float> out);

}  // namespace karec
