#include "feature_blocks.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "half.hpp"
#include "row_format.hpp"

namespace karec {
namespace {

template <class Element>
const Element* row_of(const MatrixView& matrix, std::size_t row) noexcept {
    return static_cast<const Element*>(matrix.data) + row * matrix.cols;
}

// The last blocks' memory, left to the thread's next ones: fresh pages cost as much as a small selection.
constexpr std::size_t kMostKept = std::size_t{8} << 20;  // floats: 32 MiB a thread
struct Kept {
    std::unique_ptr<float[]> values;
    std::size_t size = 0;
};
thread_local Kept kept;

}  // namespace

Result<std::vector<double>> finite_squared_norms(const MatrixView& matrix, const char* name) {
    std::vector<double> norms(matrix.rows);
    const DiversityLoops& loops = diversity_loops();
    if (matrix.dtype == DType::float16) {
        if (Status status = check_finite(matrix, name); !status.ok()) return status;  // the loop expects it
        loops.squared_norms_float16(row_of<std::uint16_t>(matrix, 0), matrix.rows, matrix.cols, norms.data());
    } else {
        loops.squared_norms_float32(row_of<float>(matrix, 0), matrix.rows, matrix.cols, norms.data());
    }
    // A square of a float is far from the end of float64: a norm is finite where all of its row is.
    if (!std::all_of(norms.begin(), norms.end(), [](double x) { return std::isfinite(x); })) {
        return check_finite(matrix, name);
    }
    return norms;
}

void scaled_row(const MatrixView& matrix, std::size_t row, double factor, std::span<double> out) noexcept {
    if (matrix.dtype == DType::float16) {
        const auto* from = row_of<std::uint16_t>(matrix, row);
        for (std::size_t d = 0; d < matrix.cols; ++d) out[d] = factor * static_cast<double>(half_to_float(from[d]));
    } else {
        const auto* from = row_of<float>(matrix, row);
        for (std::size_t d = 0; d < matrix.cols; ++d) out[d] = factor * static_cast<double>(from[d]);
    }
}

FeatureBlocks::FeatureBlocks(const MatrixView& matrix, std::span<const double> squared_norms, double scale,
                             std::vector<std::uint32_t> order)
    : matrix_(matrix),
      squared_norms_(squared_norms),
      scale_(scale),
      order_(std::move(order)),
      packed_((order_.size() + kBlockItems - 1) / kBlockItems, false),
      n_values_(packed_.size() * kBlockItems * matrix.cols) {
    if (kept.size >= n_values_) {
        values_ = std::move(kept.values);
        n_values_ = std::exchange(kept.size, 0);
    } else {
        values_ = std::make_unique_for_overwrite<float[]>(n_values_);
    }
}

FeatureBlocks::~FeatureBlocks() {
    if (n_values_ > kept.size && n_values_ <= kMostKept) kept = {std::move(values_), n_values_};
}

void FeatureBlocks::pack(std::size_t b) {
    std::size_t items[kBlockItems];
    double factors[kBlockItems];
    for (std::size_t i = 0; i < kBlockItems; ++i) {
        const std::size_t place = b * kBlockItems + i;
        items[i] = order_[place < order_.size() ? place : b * kBlockItems];
        factors[i] = place < order_.size() ? length_factor(squared_norms_[items[i]], scale_) : 0.0;
    }
    const auto pack_rows = [&]<class Element>(const Element*, auto loop) {
        const Element* rows[kBlockItems];
        for (std::size_t i = 0; i < kBlockItems; ++i) rows[i] = row_of<Element>(matrix_, items[i]);
        loop(rows, factors, matrix_.cols, &values_[b * kBlockItems * matrix_.cols]);
    };
    if (matrix_.dtype == DType::float16) {
        pack_rows(static_cast<const std::uint16_t*>(nullptr), diversity_loops().pack_float16);
    } else {
        pack_rows(static_cast<const float*>(nullptr), diversity_loops().pack_float32);
    }
    packed_[b] = true;
}

}  // namespace karec
