// Nodes as a file has them → words and splits of the kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "trees/tree_ensemble.hpp"

namespace karec {

// Used by TreeEnsemble::of alone, which calls add() tree by tree.
class TreeBuilder {
  public:
    explicit TreeBuilder(TreeEnsemble& made) : made_(made) {}

    // A tree of `sum`, of the `size` ≥ 1 nodes from `first` on, which the caller has found to be there.
    Status add(const TreeNodes& nodes, std::size_t first, std::size_t size, TreeEnsemble::Sum& sum);

  private:
    struct Node {
        std::int64_t feature;
        float value;
        std::size_t children[2];
        bool missing_first;
    };
    struct Range {  // the leaves under a node's first child
        std::size_t node;
        std::size_t begin;
        std::size_t end;
    };

    Status read(const TreeNodes& nodes, std::size_t first, std::size_t size);
    Status number_leaves();
    void write(TreeEnsemble::Sum& sum);
    std::uint32_t column_of(const Node& node);

    TreeEnsemble& made_;
    std::map<std::pair<std::int64_t, bool>, std::uint32_t> columns_;
    std::vector<Node> nodes_;    // of the tree under way
    std::vector<Range> ranges_;  // one for each node that splits
    std::vector<float> leaves_;  // from first to last
};

}  // namespace karec
