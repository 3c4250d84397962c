#include "trees/tree_builder.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace karec {

Status TreeBuilder::add(const TreeNodes& nodes, std::size_t first, std::size_t size, TreeEnsemble::Sum& sum) {
    Status status = read(nodes, first, size);
    if (status.ok()) status = number_leaves();
    if (!status.ok()) return status;
    write(sum);
    ++made_.n_trees_;
    return {};
}

// A copy, so that what is checked is what is used.
Status TreeBuilder::read(const TreeNodes& nodes, std::size_t first, std::size_t size) {
    nodes_.clear();
    std::vector<bool> has_parent(size, false);
    for (std::size_t i = 0; i < size; ++i) {
        const std::size_t at = first + i;
        Node node{nodes.features[at], nodes.values[at], {}, nodes.missing_first[at] != 0};
        const std::string name = "node " + std::to_string(i);
        if (node.feature < 0 ? !std::isfinite(node.value) : std::isnan(node.value)) {
            return Status::invalid(name +
                                   (node.feature < 0 ? " has a weight that is not finite" : " compares with NaN"));
        }
        if (node.feature < -1 || node.feature >= static_cast<std::int64_t>(made_.n_features_)) {
            return Status::invalid(name + " reads feature " + std::to_string(node.feature) + " of " +
                                   std::to_string(made_.n_features_));
        }
        for (std::size_t c = 0; c < 2 && node.feature >= 0; ++c) {
            const std::int64_t child = nodes.children[2 * at + c];
            if (child < 1 || child >= static_cast<std::int64_t>(size)) {
                return Status::invalid(name + " has the child " + std::to_string(child) + " of " +
                                       std::to_string(size) + " nodes");
            }
            node.children[c] = static_cast<std::size_t>(child);
            if (has_parent[node.children[c]]) {
                return Status::invalid("node " + std::to_string(child) + " is the child of two");
            }
            has_parent[node.children[c]] = true;
        }
        nodes_.push_back(node);
    }
    return {};
}

// Depth first, first children first. No node has two parents and the root has none, so that what is reached from the
// root is a tree; what is not reached hangs on a cycle or on nothing.
Status TreeBuilder::number_leaves() {
    struct Step {
        std::size_t node;
        std::size_t range;  // of the node whose second child this is
    };
    constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
    ranges_.clear();
    leaves_.clear();
    std::vector<Step> steps{{0, kNone}};
    std::size_t seen = 0;
    while (!steps.empty()) {
        const Step step = steps.back();
        steps.pop_back();
        ++seen;
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
    if (seen != nodes_.size()) {
        return Status::invalid(std::to_string(nodes_.size() - seen) + " nodes are not reached from the root");
    }
    if (leaves_.size() > kMostLeaves) {
        return Status::invalid("it has " + std::to_string(leaves_.size()) + " leaves, at most " +
                               std::to_string(kMostLeaves) + " are taken");
    }
    return {};
}

void TreeBuilder::write(TreeEnsemble::Sum& sum) {
    for (std::size_t word = (leaves_.size() + kWordLeaves - 1) / kWordLeaves; word-- > 0;) {
        const std::size_t begin = word * kWordLeaves;
        const std::size_t end = std::min(begin + kWordLeaves, leaves_.size());
        TreeWord made{{}, 0, word == 0 ? 1u : 0u};
        std::copy(leaves_.data() + begin, leaves_.data() + end, made.leaves);
        for (const Range& range : ranges_) {
            const std::size_t from = std::max(range.begin, begin);
            const std::size_t to = std::min(range.end, end);
            if (from >= to) continue;
            const std::uint64_t ruled_out = ((std::uint64_t{1} << (to - from)) - 1) << (from - begin);
            const Node& node = nodes_[range.node];
            sum.splits.push_back({node.value, column_of(node), ~static_cast<std::uint32_t>(ruled_out)});
            ++made.n_splits;
        }
        sum.words.push_back(made);
    }
}

std::uint32_t TreeBuilder::column_of(const Node& node) {
    const auto next = static_cast<std::uint32_t>(made_.columns_.size());
    const auto [place, is_new] = columns_.try_emplace({node.feature, node.missing_first}, next);
    if (is_new) {
        using Limits = std::numeric_limits<float>;
        const float missing = node.missing_first ? -Limits::infinity() : Limits::quiet_NaN();
        made_.columns_.push_back({static_cast<std::size_t>(node.feature), missing});
    }
    return place->second;
}

}  // namespace karec
