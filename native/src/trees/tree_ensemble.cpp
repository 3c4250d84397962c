#include "trees/tree_ensemble.hpp"

#include <algorithm>
#include <cmath>

#include "base/boundary.hpp"
#include "base/scratch.hpp"
#include "kernels/kernels.hpp"

namespace karec {
Status TreeEnsemble::scores(std::span<const float> rows, std::span<float> out) const noexcept {
    return at_boundary([&]() -> Status {
        const Kernels& loops = kernels();
        const std::size_t n = n_features_ > 0 ? rows.size() / n_features_ : 0;
        ScratchArray<float> columns(std::max<std::size_t>(columns_.size(), 1) * kTreeRows);
        float sums[kTreeRows];
        for (std::size_t row = 0; row < n; row += kTreeRows) {
            const std::size_t n_block = std::min(kTreeRows, n - row);
            fill_columns(rows.data() + row * n_features_, n_block, &columns[0]);
            for (std::size_t s = 0; s < sums_.size(); ++s) {
                const Sum& sum = sums_[s];
                loops.sum_leaves(&columns[0], sum.words.data(), sum.words.size(), sum.splits.data(), n_block, sums);
                std::copy(sums, sums + n_block, out.data() + s * n + row);
            }
        }
        return {};
    });
}

// Sixteen rows at a time: their cache lines stay in the first level. Rows from n on are zeros.
void TreeEnsemble::fill_columns(const float* rows, std::size_t n, float* columns) const noexcept {
    constexpr std::size_t kRows = 16;
    for (std::size_t first = 0; first < kTreeRows; first += kRows) {
        const std::size_t n_valid = first < n ? std::min(kRows, n - first) : 0;
        const float* input = rows + std::min(first, n) * n_features_;
        float* output = columns + first;
        for (const Column& column : columns_) {
            float values[kRows] = {};
            if (n_valid == kRows) {
                for (std::size_t r = 0; r < kRows; ++r) values[r] = input[r * n_features_ + column.feature];
            } else {
                for (std::size_t r = 0; r < n_valid; ++r) values[r] = input[r * n_features_ + column.feature];
            }
            for (std::size_t r = 0; r < kRows; ++r) output[r] = std::isnan(values[r]) ? column.missing : values[r];
            output += kTreeRows;
        }
    }
}

}  // namespace karec
