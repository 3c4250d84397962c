#include "trees/tree_ensemble.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/scratch.hpp"
#include "kernels/kernels.hpp"
#include "trees/tree_builder.hpp"

namespace karec {
namespace {

Status check_lists(const TreeNodes& nodes) {
    const std::size_t n = nodes.features.size();
    Status status = check_lengths("sizes", nodes.sizes.size(), "outputs", nodes.outputs.size());
    if (status.ok()) status = check_lengths("features", n, "values", nodes.values.size());
    if (status.ok()) status = check_lengths("features", n, "missing_first", nodes.missing_first.size());
    if (!status.ok()) return status;
    if (nodes.children.size() != 2 * n) return Status::invalid("children are not two for each node");
    return {};
}

}  // namespace

Result<TreeEnsemble> TreeEnsemble::of(const TreeNodes& nodes, std::size_t n_features, std::size_t n_outputs) {
    TreeEnsemble made;
    made.n_features_ = n_features;
    made.sums_.resize(n_outputs);
    Status status = check_lists(nodes);
    if (!status.ok()) return status;
    TreeBuilder builder(made);
    std::size_t first = 0;
    for (std::size_t t = 0; t < nodes.sizes.size(); ++t) {
        const std::int64_t size = nodes.sizes[t];
        const std::int64_t output = nodes.outputs[t];
        if (output < 0 || output >= static_cast<std::int64_t>(n_outputs)) {
            return Status::invalid("tree " + std::to_string(t) + " belongs to output " + std::to_string(output) +
                                   " of " + std::to_string(n_outputs));
        }
        if (size < 1 || static_cast<std::uint64_t>(size) > nodes.features.size() - first) {
            return Status::invalid("tree " + std::to_string(t) + " has " + std::to_string(size) + " nodes, of " +
                                   std::to_string(nodes.features.size() - first) + " that are left");
        }
        status =
            builder.add(nodes, first, static_cast<std::size_t>(size), made.sums_[static_cast<std::size_t>(output)]);
        if (!status.ok()) return Status::invalid("tree " + std::to_string(t) + ": " + status.message());
        first += static_cast<std::size_t>(size);
    }
    if (first != nodes.features.size()) {
        return Status::invalid(std::to_string(nodes.features.size() - first) + " nodes are of no tree");
    }
    return made;
}

Status TreeEnsemble::scores(std::span<const float> rows, std::span<float> out) const noexcept {
    return at_boundary([&]() -> Status {
        const Kernels& loops = kernels();
        const std::size_t n = n_features_ > 0 ? rows.size() / n_features_ : 0;
        ScratchArray<float> columns(std::max<std::size_t>(columns_.size(), 1) * kTreeRows);
        float sums[kTreeRows];
        for (std::size_t row = 0; row < n; row += kTreeRows) {
            const std::size_t here = std::min(kTreeRows, n - row);
            fill(rows.data() + row * n_features_, here, &columns[0]);
            for (std::size_t s = 0; s < sums_.size(); ++s) {
                const Sum& sum = sums_[s];
                loops.sum_leaves(&columns[0], sum.words.data(), sum.words.size(), sum.splits.data(), here, sums);
                std::copy(sums, sums + here, out.data() + s * n + row);
            }
        }
        return {};
    });
}

// Sixteen rows at a time, whose cache lines stay in the first level; zeros for rows from n on.
void TreeEnsemble::fill(const float* rows, std::size_t n, float* columns) const noexcept {
    constexpr std::size_t kAtOnce = 16;
    for (std::size_t first = 0; first < kTreeRows; first += kAtOnce) {
        const std::size_t here = first < n ? std::min(kAtOnce, n - first) : 0;
        const float* from = rows + std::min(first, n) * n_features_;
        float* to = columns + first;
        for (const Column& column : columns_) {
            float values[kAtOnce] = {};
            if (here == kAtOnce) {
                for (std::size_t r = 0; r < kAtOnce; ++r) values[r] = from[r * n_features_ + column.feature];
            } else {
                for (std::size_t r = 0; r < here; ++r) values[r] = from[r * n_features_ + column.feature];
            }
            for (std::size_t r = 0; r < kAtOnce; ++r) to[r] = std::isnan(values[r]) ? column.missing : values[r];
            to += kTreeRows;
        }
    }
}

}  // namespace karec
