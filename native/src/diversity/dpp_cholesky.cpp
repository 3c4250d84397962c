// dpp_select_kernel: greedy MAP on an explicit kernel by incremental Cholesky factorization, float64.
//
// Algorithm  Row s of C holds, for every item i, entry s of the solution c_i of V c_i = L_{Y,i}, with V Vᵀ = L_Y. The
//            gain is d²_i = L_ii − ‖c_i‖². A pick j adds the row e_i = (L_ji − ⟨c_j, c_i⟩)/d_j. V is a part of C:
//            V_rs = C_s[y_r]. With a window, one plane (Givens) rotation for each other pick removes the oldest pick:
//            it moves the oldest pick's entry of every c_i into the others.
// Cost       O(N·t) for pick t, O(N·w) with a window w; memory 8·N·min(k, w) bytes.
// Source     L. Chen, G. Zhang, H. Zhou, "Fast Greedy MAP Inference for Determinantal Point Process", 2018,
//            algorithm 1 and section 4, on rows.
#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "base/boundary.hpp"
#include "base/fixed_math.hpp"
#include "diversity/dpp_problem.hpp"
#include "karec/dpp.hpp"

namespace karec {
namespace {

constexpr double kMaxDouble = std::numeric_limits<double>::max();

std::string position_text(std::size_t row, std::size_t col) {
    return "(" + std::to_string(row) + ", " + std::to_string(col) + ")";
}

Status check_kernel(std::span<const double> kernel, std::size_t n) {
    if (n == 0 ? !kernel.empty() : kernel.size() % n != 0 || kernel.size() / n != n) {
        return Status::invalid("kernel has " + std::to_string(kernel.size()) + " entries, expected " +
                               std::to_string(n) + " × " + std::to_string(n));
    }
    for (std::size_t row = 0; row < n; ++row) {
        const double* entries = &kernel[row * n];
        std::size_t n_finite = 0;
        for (std::size_t col = 0; col < n; ++col) n_finite += std::abs(entries[col]) <= kMaxDouble ? 1 : 0;
        if (n_finite < n) {  // GCC vectorizes this count, not std::isfinite
            const auto* bad = std::find_if(entries, entries + n, [](double x) { return !std::isfinite(x); });
            const char* value = std::isnan(*bad) ? "NaN" : "infinity";
            return Status::invalid(std::string("kernel holds ") + value + " at " +
                                   position_text(row, static_cast<std::size_t>(bad - entries)));
        }
        if (entries[row] < 0.0) {
            return Status::invalid("kernel holds " + std::to_string(entries[row]) + " at " + position_text(row, row) +
                                   ": it is not positive semi-definite");
        }
    }
    return {};
}

class Cholesky {
  public:
    explicit Cholesky(std::span<const double> diagonal)
        : n_(diagonal.size()),
          first_gains_(diagonal.begin(), diagonal.end()),
          gains_(first_gains_),
          is_picked_(n_, false) {}

    // The remaining item with the largest d², ties by lowest index; n if none adds anything.
    std::size_t best() const noexcept {
        std::size_t best = n_;
        for (std::size_t i = 0; i < n_; ++i) {
            if (is_picked_[i] || !(gains_[i] > kMinGainFraction * first_gains_[i])) continue;
            if (best == n_ || gains_[i] > gains_[best]) best = i;
        }
        return best;
    }

    double gain(std::size_t item) const noexcept { return gains_[item]; }

    // `row` is the item's column of L.
    void add(std::size_t item, std::vector<double> row) {
        const double inverse = 1.0 / std::sqrt(gains_[item]);
        for (const std::vector<double>& earlier : rows_) {
            const double factor = earlier[item];
            for (std::size_t i = 0; i < n_; ++i) row[i] -= factor * earlier[i];
        }
        for (std::size_t i = 0; i < n_; ++i) {
            row[i] *= inverse;
            gains_[i] -= row[i] * row[i];
        }
        is_picked_[item] = true;
        rows_.push_back(std::move(row));
        picks_.push_back(item);
    }

    void remove_oldest() {
        std::vector<double> oldest = std::move(rows_.front());
        rows_.pop_front();
        picks_.pop_front();
        for (std::size_t s = 0; s < rows_.size(); ++s) {
            std::vector<double>& row = rows_[s];
            const double a = row[picks_[s]];
            const double b = oldest[picks_[s]];
            const double length = std::sqrt(a * a + b * b);
            const double cosine = a / length;
            const double sine = b / length;
            for (std::size_t i = 0; i < n_; ++i) {
                const double rotated = cosine * row[i] + sine * oldest[i];
                oldest[i] = cosine * oldest[i] - sine * row[i];
                row[i] = rotated;
            }
        }
        for (std::size_t i = 0; i < n_; ++i) gains_[i] += oldest[i] * oldest[i];
    }

    std::size_t n_picks() const noexcept { return picks_.size(); }

  private:
    std::size_t n_;
    std::vector<double> first_gains_;
    std::vector<double> gains_;
    std::vector<bool> is_picked_;
    std::deque<std::vector<double>> rows_;
    std::deque<std::size_t> picks_;
};

}  // namespace

Result<DppCount> dpp_select_kernel(std::span<const double> kernel, std::size_t n, std::optional<std::size_t> window,
                                   std::span<std::int64_t> indices, std::span<double> gains) noexcept {
    return at_boundary([&]() -> Result<DppCount> {
        if (indices.size() != gains.size()) return Status::invalid("indices and gains differ in length");
        if (window && *window == 0) return Status::invalid("window must be ≥ 1, got 0");
        if (Status status = check_kernel(kernel, n); !status.ok()) return status;
        std::vector<double> diagonal(n);
        for (std::size_t i = 0; i < n; ++i) diagonal[i] = kernel[i * n + i];
        Cholesky cholesky(diagonal);
        DppCount count;
        const std::size_t k = std::min(indices.size(), n);
        while (count.selected < k) {
            while (window && cholesky.n_picks() >= *window) cholesky.remove_oldest();
            const std::size_t item = cholesky.best();
            if (item == n) break;
            indices[count.selected] = static_cast<std::int64_t>(item);
            gains[count.selected] = cholesky.gain(item);
            count.log_det += fixed_log(cholesky.gain(item));
            if (++count.selected == k) break;
            const auto column = kernel.subspan(item * n, n);
            cholesky.add(item, {column.begin(), column.end()});
        }
        count.n_dpp = count.selected;
        return count;
    });
}

}  // namespace karec
