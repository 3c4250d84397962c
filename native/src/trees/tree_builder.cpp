// TreeEnsemble::from_nodes: the nodes of a file become the words and splits of the kernel. O(nodes) for trees of at
// most 32 leaves.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/checks.hpp"
#include "karec/item_index.hpp"
#include "trees/tree_ensemble.hpp"

namespace karec {

// Adds one tree after another to an ensemble.
class TreeBuilder {
  public:
    explicit TreeBuilder(TreeEnsemble& trees) : trees_(trees) {}

    // Adds a tree of `size` ≥ 1 nodes from `first` on to `sum`.
    Status add(const TreeNodes& nodes, std::size_t first, std::size_t size, TreeEnsemble::Sum& sum) {
        Status status = read(nodes, first, size);
        if (status.ok()) status = number_leaves();
        if (!status.ok()) return status;
        write(sum);
        ++trees_.n_trees_;
        return {};
    }

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
    Status read_children(const TreeNodes& nodes, std::size_t first, std::size_t index, std::vector<bool>& has_parent);
    Status number_leaves();
    void write(TreeEnsemble::Sum& sum);
    std::uint32_t find_column(const Node& node);

    TreeEnsemble& trees_;
    std::map<std::pair<std::int64_t, bool>, std::uint32_t> columns_;
    std::vector<Node> nodes_;    // of the current tree
    std::vector<Range> ranges_;  // one for each node that splits
    std::vector<float> leaves_;  // from first to last
};

// Copies and checks the nodes: later steps read the copy only.
Status TreeBuilder::read(const TreeNodes& nodes, std::size_t first, std::size_t size) {
    nodes_.clear();
    std::vector<bool> has_parent(size, false);
    for (std::size_t i = 0; i < size; ++i) {
        const std::size_t at = first + i;
        const Node node{nodes.features[at], nodes.values[at], {}, nodes.missing_first[at] != 0};
        const std::string name = "node " + std::to_string(i);
        if (node.feature < 0 && !std::isfinite(node.value)) {
            return Status::invalid(name + " has a weight that is not finite");
        }
        if (node.feature >= 0 && std::isnan(node.value)) return Status::invalid(name + " compares with NaN");
        if (node.feature < -1 || node.feature >= static_cast<std::int64_t>(trees_.n_features_)) {
            return Status::invalid(name + " reads feature " + std::to_string(node.feature) + " of " +
                                   std::to_string(trees_.n_features_));
        }
        nodes_.push_back(node);
        if (node.feature < 0) continue;
        if (Status status = read_children(nodes, first, i, has_parent); !status.ok()) return status;
    }
    return {};
}

Status TreeBuilder::read_children(const TreeNodes& nodes, std::size_t first, std::size_t index,
                                  std::vector<bool>& has_parent) {
    const std::size_t size = has_parent.size();
    for (std::size_t c = 0; c < 2; ++c) {
        const std::int64_t child = nodes.children[2 * (first + index) + c];
        if (child < 1 || child >= static_cast<std::int64_t>(size)) {
            return Status::invalid("node " + std::to_string(index) + " has the child " + std::to_string(child) +
                                   " of " + std::to_string(size) + " nodes");
        }
        nodes_[index].children[c] = static_cast<std::size_t>(child);
        if (has_parent[nodes_[index].children[c]]) {
            return Status::invalid("node " + std::to_string(child) + " is the child of two");
        }
        has_parent[nodes_[index].children[c]] = true;
    }
    return {};
}

// Depth first, first children first. No node has two parents and the root has none, so the nodes that are reached from
// the root are a tree.
Status TreeBuilder::number_leaves() {
    struct Step {
        std::size_t node;
        std::size_t range;  // of the node whose second child this is
    };
    constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
    ranges_.clear();
    leaves_.clear();
    std::vector<Step> steps{{0, kNone}};
    std::size_t n_reached = 0;
    while (!steps.empty()) {
        const Step step = steps.back();
        steps.pop_back();
        ++n_reached;
        if (step.range != kNone) ranges_[step.range].end = leaves_.size();
        const Node& node = nodes_[step.node];
        if (node.feature < 0) {
            leaves_.push_back(node.value);
            continue;
        }
        steps.push_back({node.children[1], ranges_.size()});
        steps.push_back({node.children[0], kNone});
        ranges_.push_back({step.node, leaves_.size(), 0});
    }
    if (n_reached != nodes_.size()) {
        return Status::invalid(std::to_string(nodes_.size() - n_reached) + " nodes are not reached from the root");
    }
    if (leaves_.size() > kMaxLeaves) {
        return Status::invalid("it has " + std::to_string(leaves_.size()) + " leaves, expected at most " +
                               std::to_string(kMaxLeaves));
    }
    return {};
}

void TreeBuilder::write(TreeEnsemble::Sum& sum) {
    for (std::size_t w = (leaves_.size() + kWordLeaves - 1) / kWordLeaves; w-- > 0;) {
        const std::size_t begin = w * kWordLeaves;
        const std::size_t end = std::min(begin + kWordLeaves, leaves_.size());
        TreeWord word{{}, 0, w == 0 ? 1u : 0u};
        std::copy(leaves_.data() + begin, leaves_.data() + end, word.leaves);
        for (const Range& range : ranges_) {
            const std::size_t range_begin = std::max(range.begin, begin);
            const std::size_t range_end = std::min(range.end, end);
            if (range_begin >= range_end) continue;
            const std::uint64_t excluded = ((std::uint64_t{1} << (range_end - range_begin)) - 1)
                                           << (range_begin - begin);
            const Node& node = nodes_[range.node];
            sum.splits.push_back({node.value, find_column(node), ~static_cast<std::uint32_t>(excluded)});
            ++word.n_splits;
        }
        sum.words.push_back(word);
    }
}

std::uint32_t TreeBuilder::find_column(const Node& node) {
    const auto n_columns = static_cast<std::uint32_t>(trees_.columns_.size());
    const auto [place, is_new] = columns_.try_emplace({node.feature, node.missing_first}, n_columns);
    if (is_new) {
        using Limits = std::numeric_limits<float>;
        const float missing = node.missing_first ? -Limits::infinity() : Limits::quiet_NaN();
        trees_.columns_.push_back({static_cast<std::size_t>(node.feature), missing});
    }
    return place->second;
}

Result<TreeEnsemble> TreeEnsemble::from_nodes(const TreeNodes& nodes, std::size_t n_features, std::size_t n_outputs) {
    const std::size_t n = nodes.features.size();
    Status status = check_isa();
    if (status.ok()) status = check_lengths("sizes", nodes.sizes.size(), "outputs", nodes.outputs.size());
    if (status.ok()) status = check_lengths("features", n, "values", nodes.values.size());
    if (status.ok()) status = check_lengths("features", n, "missing_first", nodes.missing_first.size());
    if (!status.ok()) return status;
    if (nodes.children.size() != 2 * n) return Status::invalid("children are not two for each node");
    TreeEnsemble trees;
    trees.n_features_ = n_features;
    trees.sums_.resize(n_outputs);
    TreeBuilder builder(trees);
    std::size_t first = 0;
    for (std::size_t t = 0; t < nodes.sizes.size(); ++t) {
        const std::int64_t size = nodes.sizes[t];
        const std::int64_t output = nodes.outputs[t];
        const std::string name = "tree " + std::to_string(t);
        if (output < 0 || output >= static_cast<std::int64_t>(n_outputs)) {
            return Status::invalid(name + " belongs to output " + std::to_string(output) + " of " +
                                   std::to_string(n_outputs));
        }
        if (size < 1 || static_cast<std::uint64_t>(size) > n - first) {
            return Status::invalid(name + " has " + std::to_string(size) + " nodes, of " + std::to_string(n - first) +
                                   " that are left");
        }
        TreeEnsemble::Sum& sum = trees.sums_[static_cast<std::size_t>(output)];
        status = builder.add(nodes, first, static_cast<std::size_t>(size), sum);
        if (!status.ok()) return Status::invalid(name + ": " + status.message());
        first += static_cast<std::size_t>(size);
    }
    if (first != n) return Status::invalid(std::to_string(n - first) + " nodes belong to no tree");
    return trees;
}

}  // namespace karec
