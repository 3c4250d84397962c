// Rows of a matrix at unit length, packed when first asked for in blocks of 64, dimension-major, so that the inner
// product of a direction with 64 items runs over registers.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "diversity_loops.hpp"
#include "karec/array.hpp"
#include "karec/status.hpp"

namespace karec {

// ‖row‖² of each row. Refuses NaN and infinity, as "<name> holds …".
Result<std::vector<double>> finite_squared_norms(const MatrixView& matrix, const char* name);

// What makes a row of that squared norm one of length `scale`; 0 for a zero row.
inline double length_factor(double squared_norm, double scale) noexcept {
    return squared_norm > 0.0 ? scale / std::sqrt(squared_norm) : 0.0;
}

// out (D) = factor · row.
void scaled_row(const MatrixView& matrix, std::size_t row, double factor, std::span<double> out) noexcept;

class FeatureBlocks {
  public:
    // Place i holds row order[i] of `matrix` at length `scale`.
    FeatureBlocks(const MatrixView& matrix, std::span<const double> squared_norms, double scale,
                  std::vector<std::uint32_t> order);
    ~FeatureBlocks();
    FeatureBlocks(const FeatureBlocks&) = delete;
    FeatureBlocks& operator=(const FeatureBlocks&) = delete;

    std::size_t size() const noexcept { return order_.size(); }
    std::size_t count() const noexcept { return packed_.size(); }
    std::size_t item(std::size_t place) const noexcept { return order_[place]; }
    std::span<const std::uint32_t> order() const noexcept { return order_; }

    // block[d·kBlockItems + i] = dimension d of place b·kBlockItems + i; zeros behind the last.
    const float* block(std::size_t b) {
        if (!packed_[b]) pack(b);
        return &values_[b * kBlockItems * matrix_.cols];
    }

  private:
    void pack(std::size_t b);

    MatrixView matrix_;
    std::span<const double> squared_norms_;
    double scale_;
    std::vector<std::uint32_t> order_;
    std::vector<bool> packed_;
    std::size_t n_values_;
    std::unique_ptr<float[]> values_;
};

}  // namespace karec
