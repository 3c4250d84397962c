// The kernel of regression trees: kTreeRows rows through many trees at once, without a branch that depends on a value.
#pragma once

#include <cstddef>
#include <cstdint>

namespace karec {

inline constexpr std::size_t kTreeRows = 64;      // rows of one call
inline constexpr std::size_t kLeavesOfWord = 32;  // leaves of a tree whose bits are kept together

// Of a row whose value in `column` is not ≤ `threshold`, the leaves of `kept` alone stay possible.
struct TreeSplit {
    float threshold;
    std::uint32_t column;
    std::uint32_t kept;
};

// Leaves 32 w … 32 w + 31 of a tree, bit by bit, and the splits that rule some of them out.
struct TreeWord {
    float leaves[kLeavesOfWord];
    std::uint32_t n_splits;
    std::uint32_t ends;  // 1 where w = 0; the words of a tree stand in falling order of w
};

struct TreeKernels {
    // out[r] = Σ of the leaves that row r of the first n reaches, one a tree: float32, in the order of the trees, from
    // 0 on. `columns` is (columns, kTreeRows); `splits` are those of all words, in order. Of `out`, which
    // has room for kTreeRows, anything may be written from n on.
    void (*sum_leaves)(const float* columns, const TreeWord* words, std::size_t n_words, const TreeSplit* splits,
                       std::size_t n, float* out);
};

}  // namespace karec
