// TreeEnsemble evaluates regression trees: each output is a sum of one leaf of each of its trees.
//
// A row goes to the first child of a node if its feature is ≤ the threshold, else to the second; a flag of the node
// gives the direction of NaN. Comparisons and sums are float32, in the order of the trees, from 0 on: the results have
// the same bits on every instruction set, and as ONNX Runtime on one thread. The kernel is in kernels/kernels.hpp.
// Cost: O(rows·splits), without a branch that depends on a row.
// Threads: an ensemble never changes; any number of threads may use it.
// Source: the trees of LightGBM, as ONNX's TreeEnsembleRegressor defines them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/status.hpp"
#include "kernels/kernels.hpp"

namespace karec {

inline constexpr std::size_t kMaxLeaves = 256;  // of a tree: larger ones are faster node by node

// M nodes of T trees, tree by tree, each tree's root first.
struct TreeNodes {
    std::span<const std::int64_t> sizes;          // (T), nodes of each tree
    std::span<const std::int64_t> outputs;        // (T), the sum that a tree is part of
    std::span<const std::int64_t> features;       // (M), −1: a leaf
    std::span<const float> values;                // (M), the threshold of a node, the weight of a leaf
    std::span<const std::int64_t> children;       // (M, 2), first and second, numbered from the root, which is 0
    std::span<const std::uint8_t> missing_first;  // (M), not 0: NaN goes to the first child
};

class TreeEnsemble {
  public:
    // Copies the nodes. Refuses arrays of lengths that do not fit, an unknown feature or output, children that do not
    // form a tree, a threshold of NaN, a weight that is not finite, and a tree of more than kMaxLeaves leaves. O(M) for
    // trees of at most 32 leaves.
    static Result<TreeEnsemble> from_nodes(const TreeNodes& nodes, std::size_t n_features, std::size_t n_outputs);

    std::size_t n_features() const noexcept { return n_features_; }
    std::size_t n_outputs() const noexcept { return sums_.size(); }
    std::size_t n_trees() const noexcept { return n_trees_; }

    // Writes out (n_outputs, n) for rows (n, n_features). Memory: kTreeRows float32 for each feature in use.
    Status scores(std::span<const float> rows, std::span<float> out) const noexcept;

  private:
    struct Column {  // a feature with `missing` in place of NaN: −∞ is ≤ every threshold, NaN is not
        std::size_t feature;
        float missing;
    };
    struct Sum {  // words and splits of one output
        std::vector<TreeWord> words;
        std::vector<TreeSplit> splits;
    };
    friend class TreeBuilder;

    void fill_columns(const float* rows, std::size_t n, float* columns) const noexcept;

    std::size_t n_features_ = 0;
    std::size_t n_trees_ = 0;
    std::vector<Column> columns_;
    std::vector<Sum> sums_;
};

}  // namespace karec
