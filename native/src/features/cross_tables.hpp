// Tables of the wide part of towers: what each code of a category adds to the scores of its items for one user.
//
// The wide part is a linear function of cross features, and each of its features depends on an item by the code of one
// category. So the sum over the features of a category is one number for each code.
//
// Algorithm  Crosses of one item for each code in the user's lists, for code 0, and for a code that no list has: all
//            other codes have its crosses.
// Cost       O(L·(I + F·B)) for L codes in the user's lists, I categories, F features of B pieces.
// Bits       Terms are float64, added in the order of the features, and rounded once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/scratch.hpp"
#include "features/crosses.hpp"
#include "karec/status.hpp"

namespace karec {

// The weights of one head. Feature f adds Σ_b weights[f, b]·clip((x − low)·per_width, 0, 1) + weights[f, B]·x, where x
// is the cross in columns[f]. Never changes: any number of threads may use one.
struct CrossWeights {
    std::vector<std::size_t> columns;  // (F,)
    std::vector<double> low;           // (F, B)
    std::vector<double> per_width;     // (F, B)
    std::vector<double> weights;       // (F, B + 1)

    // Reads cross_weights.npz: the weights of the first head. bad_format: an array is missing, of another shape, or has
    // a number that is not finite.
    static Result<CrossWeights> read(std::span<const std::byte> npz);
};

// As karec::CodeTable, with memory of its own.
struct CrossTable {
    ScratchVector<std::uint32_t> codes;  // ascending
    ScratchVector<float> values;
    float other = 0.0f;
};

// A code of a vocabulary in 32 bits: codes of known values stay, an unseen value has 2^31 + 31 bits of its code. Two
// unseen values have one code with a probability of 2^−31.
constexpr std::uint32_t to_code32(std::int64_t code) noexcept {
    constexpr std::uint32_t kUnseen = std::uint32_t{1} << 31;
    return code < kUnseen ? static_cast<std::uint32_t>(code) : kUnseen | static_cast<std::uint32_t>(code);
}

// Returns a table for each of `categories`, columns of item codes, for the one user of `user`, whose items are not
// read. Without a feature of the category it is 0 for all codes. Throws only std::bad_alloc.
ScratchVector<CrossTable> compute_cross_tables(const CrossInputs& user, const CrossWeights& weights,
                                               std::span<const std::size_t> categories);

}  // namespace karec
