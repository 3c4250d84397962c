// Regression trees, as LightGBM makes them and ONNX's TreeEnsembleRegressor defines them: rows of features → sums of
// leaves.
//
// A row goes to the first child of a node where its feature is ≤ the threshold, to the second where it is not; NaN goes
// where the node says. Comparisons and sums are of float32; a sum is made in the order of the trees, from 0 on. So the
// result has the same bits on every instruction set, and those of ONNX Runtime on one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/status.hpp"
#include "kernels/kernels.hpp"

namespace karec {

inline constexpr std::size_t kMostLeaves = 256;  // of a tree: deeper ones are quicker node by node

// M nodes of T trees, tree by tree, each tree's root first.
struct TreeNodes {
    std::span<const std::int64_t> sizes;          // (T), nodes of each tree
    std::span<const std::int64_t> outputs;        // (T), which sum a tree belongs to
    std::span<const std::int64_t> features;       // (M), −1: a leaf
    std::span<const float> values;                // (M), the threshold of a node, the weight of a leaf
    std::span<const std::int64_t> children;       // (M, 2), first and second, numbered from the root, which is 0
    std::span<const std::uint8_t> missing_first;  // (M), not 0: NaN goes to the first child
};

// Never changes: any number of threads may use one.
class TreeEnsemble {
  public:
    // Refuses arrays that do not belong together, a feature or output that is not there, children that make no tree,
    // a threshold of NaN, a weight that is not finite, and a tree of more than kMostLeaves leaves. O(M) for trees of up
    // to 32 leaves.
    static Result<TreeEnsemble> of(const TreeNodes& nodes, std::size_t n_features, std::size_t n_outputs);

    std::size_t n_features() const noexcept { return n_features_; }
    std::size_t n_outputs() const noexcept { return sums_.size(); }
    std::size_t n_trees() const noexcept { return n_trees_; }

    // out (n_outputs, n) of rows (n, n_features). Memory: kTreeRows float32 for each feature that is read.
    Status scores(std::span<const float> rows, std::span<float> out) const noexcept;

  private:
    struct Column {  // of the rows, with `missing` for NaN: −∞ is ≤ any threshold, NaN is not
        std::size_t feature;
        float missing;
    };
    struct Sum {  // words and splits of one output
        std::vector<TreeWord> words;
        std::vector<TreeSplit> splits;
    };
    friend class TreeBuilder;

    void fill(const float* rows, std::size_t n, float* columns) const noexcept;

    std::size_t n_features_ = 0;
    std::size_t n_trees_ = 0;
    std::vector<Column> columns_;
    std::vector<Sum> sums_;
};

}  // namespace karec
