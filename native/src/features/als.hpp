// The ALS vector of a user, from the items that the user enjoyed (karec/features/cowatch.py defines the factors).
//
//     x = (G + Σ_j y_j y_jᵀ)⁻¹ Σ_j y_j        the minimum of Σ_j (1 − x·y_j)² + xᵀ G x
//
// Algorithm  Cholesky factorisation in float64, in one order of summation.
// Cost       O(H·F² + F³) for H distinct items and F factors; O(F) for a score.
// Source     Y. Hu, Y. Koren, C. Volinsky, Collaborative filtering for implicit feedback datasets, ICDM 2008.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/scratch.hpp"
#include "karec/status.hpp"

namespace karec {

// Factors of items at M moments. Both arrays are empty if there are none.
struct AlsFactors {
    std::span<const float> vectors;  // (M·R, F): R rows of each moment, row 0 of a moment is zero
    std::span<const double> grams;   // (M, F, F), symmetric and positive definite
    std::size_t dim = 0;             // F

    std::span<const float> vector(std::int64_t row) const noexcept {
        return vectors.subspan(static_cast<std::size_t>(row) * dim, dim);
    }
    // The gram of the moment of a row.
    std::span<const double> gram(std::int64_t row) const noexcept {
        const std::size_t n_rows = vectors.size() * dim / grams.size();  // R
        return grams.subspan(static_cast<std::size_t>(row) / n_rows * dim * dim, dim * dim);
    }
};

// Vector of one user. The factors must outlive it. Threads: one at a time.
class AlsUser {
  public:
    explicit AlsUser(const AlsFactors& factors) : factors_(factors) {}

    void clear() noexcept { rows_.clear(); }

    // Adds an item, unless it was added before. The caller checks the row. All rows are of one moment.
    void add(std::int64_t row) {
        if (std::ranges::find(rows_, row) == rows_.end()) rows_.push_back(row);
    }

    // Computes the vector, which is zero without items. invalid_argument: a gram that is not positive definite.
    Status solve() {
        const std::size_t n = factors_.dim;
        x_.assign(n, 0.0);
        if (rows_.empty()) return {};
        const auto gram = factors_.gram(rows_.front());
        matrix_.assign(gram.begin(), gram.end());
        for (const std::int64_t row : rows_) {
            const auto y = factors_.vector(row);
            for (std::size_t a = 0; a < n; ++a) {
                const auto y_a = static_cast<double>(y[a]);
                x_[a] += y_a;
                for (std::size_t b = 0; b <= a; ++b) matrix_[a * n + b] += y_a * static_cast<double>(y[b]);
            }
        }
        for (std::size_t a = 0; a < n; ++a) {
            for (std::size_t b = 0; b <= a; ++b) {
                double sum = matrix_[a * n + b];
                for (std::size_t c = 0; c < b; ++c) sum -= matrix_[a * n + c] * matrix_[b * n + c];
                if (a == b && !(sum > 0.0)) return Status::invalid("a gram of ALS is not positive definite");
                matrix_[a * n + b] = a == b ? std::sqrt(sum) : sum / matrix_[b * n + b];
            }
        }
        for (std::size_t a = 0; a < n; ++a) {
            for (std::size_t b = 0; b < a; ++b) x_[a] -= matrix_[a * n + b] * x_[b];
            x_[a] /= matrix_[a * n + a];
        }
        for (std::size_t a = n; a-- > 0;) {
            for (std::size_t b = a + 1; b < n; ++b) x_[a] -= matrix_[b * n + a] * x_[b];
            x_[a] /= matrix_[a * n + a];
        }
        return {};
    }

    // The inner product with an item's vector. The caller checks the row.
    float score(std::int64_t row) const noexcept {
        const auto y = factors_.vector(row);
        double sum = 0.0;
        for (std::size_t d = 0; d < y.size(); ++d) sum += x_[d] * static_cast<double>(y[d]);
        return static_cast<float>(sum);
    }

  private:
    const AlsFactors& factors_;
    ScratchVector<std::int64_t> rows_;
    ScratchVector<double> matrix_;
    ScratchVector<double> x_;
};

}  // namespace karec
