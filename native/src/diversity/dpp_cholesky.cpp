// dpp_select_kernel, dpp_select_columns: greedy MAP on an explicit kernel by incremental Cholesky, float64.
//
// Row s of C holds, for every item i, the s-th entry of the solution c_i of V c_i = L_{Y,i}, where V Vᵀ = L_Y; then
// d²_i = L_ii − ‖c_i‖². A pick j adds the row e_i = (L_ji − ⟨c_j, c_i⟩)/d_j: O(N·t) (Chen et al. 2018, algorithm 1).
// V is part of C: V_rs = C_s[y_r]. With a window the oldest pick is removed by one plane (Givens) rotation for
// each other pick, which moves its part of every c_i into the others: O(N·w) (the paper's section 4, on rows).
#include <algorithm>
#include <cmath>
#include <deque>
#include <string>
#include <vector>

#include "base/boundary.hpp"
#include "base/fixed_math.hpp"
#include "diversity/dpp_problem.hpp"
#include "karec/dpp.hpp"

namespace karec {
namespace {

std::string place(std::size_t row, std::size_t col) {
    return "(" + std::to_string(row) + ", " + std::to_string(col) + ")";
}

Status check_kernel(std::span<const double> kernel, std::size_t n) {
    if (n == 0 ? !kernel.empty() : kernel.size() % n != 0 || kernel.size() / n != n) {
        return Status::invalid("kernel has " + std::to_string(kernel.size()) + " entries, expected " +
                               std::to_string(n) + " × " + std::to_string(n));
    }
    for (std::size_t row = 0; row < n; ++row) {
        const double* entries = &kernel[row * n];
        bool finite = true;
        for (std::size_t col = 0; col < n; ++col) finite &= std::isfinite(entries[col]);
        if (!finite) {
            const auto* bad = std::find_if(entries, entries + n, [](double x) { return !std::isfinite(x); });
            const char* what = std::isnan(*bad) ? "NaN" : "infinity";
            return Status::invalid(std::string("kernel holds ") + what + " at " +
                                   place(row, static_cast<std::size_t>(bad - entries)));
        }
        if (entries[row] < 0.0) {
            return Status::invalid("kernel holds " + std::to_string(entries[row]) + " at " + place(row, row) +
                                   ": it is not positive semi-definite");
        }
    }
    return {};
}

class Cholesky {
  public:
    explicit Cholesky(std::span<const double> diagonal)
        : n_(diagonal.size()), first_(diagonal.begin(), diagonal.end()), d2_(first_), taken_(n_, false) {}

    // The remaining item with the largest d², ties by lowest index; n if none adds anything.
    std::size_t best() const noexcept {
        std::size_t best = n_;
        for (std::size_t i = 0; i < n_; ++i) {
            if (taken_[i] || !(d2_[i] > kLeastShare * first_[i])) continue;
            if (best == n_ || d2_[i] > d2_[best]) best = i;
        }
        return best;
    }

    double gain(std::size_t item) const noexcept { return d2_[item]; }

    // `row` is the item's column of L.
    void take(std::size_t item, std::vector<double> row) {
        const double inverse = 1.0 / std::sqrt(d2_[item]);
        for (const std::vector<double>& earlier : rows_) {
            const double factor = earlier[item];
            for (std::size_t i = 0; i < n_; ++i) row[i] -= factor * earlier[i];
        }
        for (std::size_t i = 0; i < n_; ++i) {
            row[i] *= inverse;
            d2_[i] -= row[i] * row[i];
        }
        taken_[item] = true;
        rows_.push_back(std::move(row));
        picks_.push_back(item);
    }

    void forget_oldest() {
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
                const double kept = cosine * row[i] + sine * oldest[i];
                oldest[i] = cosine * oldest[i] - sine * row[i];
                row[i] = kept;
            }
        }
        for (std::size_t i = 0; i < n_; ++i) d2_[i] += oldest[i] * oldest[i];
    }

    std::size_t held() const noexcept { return picks_.size(); }

  private:
    std::size_t n_;
    std::vector<double> first_;
    std::vector<double> d2_;
    std::vector<bool> taken_;
    std::deque<std::vector<double>> rows_;
    std::deque<std::size_t> picks_;
};

Status check_diagonal(std::span<const double> diagonal) {
    for (std::size_t i = 0; i < diagonal.size(); ++i) {
        if (std::isfinite(diagonal[i]) && diagonal[i] >= 0.0) continue;
        return Status::invalid("diagonal holds " + std::to_string(diagonal[i]) + " at position " + std::to_string(i) +
                               ": it is not that of a positive semi-definite kernel");
    }
    return {};
}

Status check_column(std::span<const double> column, std::size_t item) {
    for (std::size_t i = 0; i < column.size(); ++i) {
        if (std::isfinite(column[i])) continue;
        return Status::invalid("column " + std::to_string(item) + " of the kernel holds " +
                               (std::isnan(column[i]) ? "NaN" : "infinity") + " at position " + std::to_string(i));
    }
    return {};
}

template <class Column>
Result<DppCount> run(Cholesky cholesky, std::size_t n, const Column& column, std::optional<std::size_t> window,
                     std::span<std::int64_t> indices, std::span<double> gains) {
    DppCount count;
    const std::size_t k = std::min(indices.size(), n);
    while (count.selected < k) {
        while (window && cholesky.held() >= *window) cholesky.forget_oldest();
        const std::size_t item = cholesky.best();
        if (item == n) break;
        indices[count.selected] = static_cast<std::int64_t>(item);
        gains[count.selected] = cholesky.gain(item);
        count.log_det += fixed_log(cholesky.gain(item));
        if (++count.selected == k) break;
        std::vector<double> row(n);
        if (Status status = column(item, row); !status.ok()) return status;
        cholesky.take(item, std::move(row));
    }
    count.n_dpp = count.selected;
    return count;
}

Status check_places(std::optional<std::size_t> window, std::span<std::int64_t> indices, std::span<double> gains) {
    if (indices.size() != gains.size()) return Status::invalid("indices and gains differ in length");
    if (window && *window == 0) return Status::invalid("window must be ≥ 1, got 0");
    return {};
}

}  // namespace

Result<DppCount> dpp_select_kernel(std::span<const double> kernel, std::size_t n, std::optional<std::size_t> window,
                                   std::span<std::int64_t> indices, std::span<double> gains) noexcept {
    return at_boundary([&]() -> Result<DppCount> {
        if (Status status = check_places(window, indices, gains); !status.ok()) return status;
        if (Status status = check_kernel(kernel, n); !status.ok()) return status;
        std::vector<double> diagonal(n);
        for (std::size_t i = 0; i < n; ++i) diagonal[i] = kernel[i * n + i];
        const auto column = [&](std::size_t item, std::span<double> out) {
            std::copy_n(kernel.begin() + static_cast<std::ptrdiff_t>(item * n), n, out.begin());
            return Status();
        };
        return run(Cholesky(diagonal), n, column, window, indices, gains);
    });
}

Result<DppCount> dpp_select_columns(std::span<const double> diagonal, const KernelColumn& column,
                                    std::optional<std::size_t> window, std::span<std::int64_t> indices,
                                    std::span<double> gains) noexcept {
    return at_boundary([&]() -> Result<DppCount> {
        if (!column) return Status::invalid("column is an empty function: give one that fills a column of the kernel");
        if (Status status = check_places(window, indices, gains); !status.ok()) return status;
        if (Status status = check_diagonal(diagonal); !status.ok()) return status;
        const auto checked = [&](std::size_t item, std::span<double> out) {
            Status status = column(item, out);
            return status.ok() ? check_column(out, item) : status;
        };
        return run(Cholesky(diagonal), diagonal.size(), checked, window, indices, gains);
    });
}

}  // namespace karec
