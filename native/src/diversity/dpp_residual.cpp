#include "diversity/dpp_residual.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/kernels.hpp"

namespace karec {
namespace {

constexpr std::size_t kMaxPending = 16;

// Eight partial sums: additions do not wait for each other.
double dot(const double* a, const double* b, std::size_t n) noexcept {
    double sums[8] = {};
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += a[i + lane] * b[i + lane];
    }
    for (; i < n; ++i) sums[i % 8] += a[i] * b[i];
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// Returns the stride of the widest matrix, in whole cache lines, in as many bytes as a width × width matrix needs after
// rounding up to a power of two.
std::size_t widest_stride(std::size_t width) noexcept {
    const double widest = std::sqrt(static_cast<double>(std::bit_ceil(width * width)));
    return std::max(width, static_cast<std::size_t>(widest) / 8 * 8);
}

// (n, width) → (n, wider), zeros behind each row.
void widen_rows(std::vector<double>& rows, std::size_t n, std::size_t width, std::size_t wider) {
    rows.resize(n * wider, 0.0);
    for (std::size_t row = n; row-- > 0;) {
        double* to = rows.data() + row * wider;
        std::copy_backward(rows.data() + row * width, rows.data() + row * width + width, to + width);
        std::fill(to + width, to + wider, 0.0);
    }
}

}  // namespace

// Subtracts the parts of pending directions from the sum of the matrix rows in which the feature is not 0.
double DppResidual::multiply(std::span<const double> feature, std::span<double> out) {
    const Kernels& loops = kernels();
    nonzero_.clear();
    for (std::size_t at = dense_; at < width_; ++at) {
        if (feature[at] != 0.0) nonzero_.push_back(at);
    }
    loops.gemv_minus(&matrix_[0], dense_, stride_, width_, nullptr, feature.data(), out.data());
    for (const std::size_t row : nonzero_) {
        loops.gemv_minus(&matrix_[row * stride_], 1, width_, width_, out.data(), &feature[row], out.data());
    }
    for (double& x : out) x = -x;
    parts_.resize(n_pending_);
    for (std::size_t s = 0; s < parts_.size(); ++s) {
        const double* u = &pending_[s * width_];
        parts_[s] = dot(u, feature.data(), dense_);
        for (const std::size_t at : nonzero_) parts_[s] += u[at] * feature[at];
    }
    loops.gemv_minus(pending_.data(), parts_.size(), width_, width_, out.data(), parts_.data(), out.data());
    double explained = 0.0;
    for (std::size_t d = 0; d < dense_; ++d) explained += feature[d] * (feature[d] - out[d]);
    for (const std::size_t d : nonzero_) explained += feature[d] * (feature[d] - out[d]);
    return explained;
}

double DppResidual::apply(std::span<const double> feature, std::span<double> out) {
    const Kernels& loops = kernels();
    if (!is_folded()) {
        parts_.resize(n_listed());
        return loops.gram_schmidt(directions_.data(), n_listed(), width_, feature.data(), parts_.data(), out.data());
    }
    if (width_ > dense_ || n_pending_ == 0) return multiply(feature, out);
    const double explained = loops.syr_downdate_symv(pending_.data(), width_, &matrix_[0], feature.data(), out.data());
    pending_.clear();
    n_pending_ = 0;
    return explained;
}

void DppResidual::add(std::span<const double> direction) {
    if (!is_folded()) {
        directions_.insert(directions_.end(), direction.begin(), direction.end());
        ++n_listed_;
    } else {
        if (n_pending_ >= (width_ > dense_ ? kMaxPending : 1)) apply_pending();
        pending_.insert(pending_.end(), direction.begin(), direction.end());
        ++n_pending_;
    }
}

void DppResidual::widen(std::size_t width) {
    if (!is_folded()) {
        widen_rows(directions_, n_listed_, width_, width);
        width_ = width;
        return;
    }
    if (width > stride_) {
        const std::size_t stride = widest_stride(width);
        ScratchArray<double> wider(stride * stride);
        for (std::size_t row = 0; row < width_; ++row) {
            std::copy_n(&matrix_[row * stride_], width_, &wider[row * stride]);
        }
        matrix_ = std::move(wider);
        stride_ = stride;
    }
    for (std::size_t row = 0; row < width; ++row) {
        double* at = &matrix_[row * stride_];
        std::fill(at + (row < width_ ? width_ : 0), at + width, 0.0);
        if (row >= width_) at[row] = 1.0;
    }
    widen_rows(pending_, n_pending_, width_, width);
    width_ = width;
}

void DppResidual::extend(const NewCoordinate& coordinate, std::optional<std::size_t> position, double inverse_root) {
    const auto [at, owner, root_weight, fraction] = coordinate;
    if (!is_folded()) {
        for (std::size_t s = position.value_or(0); s < n_listed(); ++s) {
            double* u = &directions_[s * width_];
            u[at] = position == s ? root_weight * inverse_root
                                  : -fraction * std::inner_product(u, u + width_, owner.begin(), 0.0);
        }
        return;
    }
    std::vector<double> residual(width_);
    const double explained = apply(owner, residual);
    double square = 0.0;
    for (const double x : owner) square += x * x;
    // Pending directions are 0 in the new coordinate, so that matrix and M are equal there.
    for (std::size_t j = 0; j < width_; ++j) {
        matrix_[at * stride_ + j] = matrix_[j * stride_ + at] = -fraction * residual[j];
    }
    matrix_[at * stride_ + at] = 1.0 - root_weight * fraction + fraction * fraction * (square - explained);
}

void DppResidual::apply_pending() {
    parts_.resize(n_pending_);
    for (std::size_t j = 0; j < width_ && n_pending_ > 0; ++j) {
        for (std::size_t s = 0; s < n_pending_; ++s) parts_[s] = pending_[s * width_ + j];
        double* at = &matrix_[j * stride_];
        kernels().gemv_minus(pending_.data(), n_pending_, width_, width_, at, parts_.data(), at);
    }
    pending_.clear();
    n_pending_ = 0;
}

// Row j of M is e_j − Σ_s u_s[j]·u_s.
void DppResidual::fold() {
    if (is_folded()) return;
    ScratchArray<double> matrix(width_ * width_);
    std::vector<double> parts(n_rest());
    for (std::size_t j = 0; j < width_; ++j) write_row(j, parts, {&matrix[j * width_], width_});
    clear();
    matrix_ = std::move(matrix);
    stride_ = width_;
}

// Subtracts the parts of directions from the row of the matrix or the identity.
void DppResidual::write_row(std::size_t at, std::span<double> parts, std::span<double> out) const {
    for (std::size_t s = 0; s < parts.size(); ++s) parts[s] = rest()[s * width_ + at];
    if (is_folded()) {
        std::copy_n(&matrix_[at * stride_], out.size(), out.begin());
    } else {
        std::ranges::fill(out, 0.0);
        if (at < out.size()) out[at] = 1.0;
    }
    kernels().gemv_minus(rest().data(), parts.size(), width_, out.size(), out.data(), parts.data(), out.data());
}

double DppResidual::diagonal(std::size_t at) const {
    double residual = is_folded() ? matrix_[at * stride_ + at] : 1.0;
    for (std::size_t s = 0; s < n_rest(); ++s) residual -= rest()[s * width_ + at] * rest()[s * width_ + at];
    return residual;
}

std::size_t DppResidual::bound_cost(std::size_t size) noexcept {
    return size * ((size + kBlockItems - 1) / kBlockItems);
}

double DppResidual::bound(std::size_t size) const {
    const std::size_t n_blocks = (size + kBlockItems - 1) / kBlockItems;
    // Rows of the symmetric M are directions and its columns are items: downdate_rho sums the squares of M².
    ScratchArray<float> directions(size * size);
    std::vector<double> entries(size);
    std::vector<double> parts(n_rest());
    for (std::size_t at = 0; at < size; ++at) {
        write_row(at, parts, entries);
        std::ranges::transform(entries, &directions[at * size], [](double x) { return static_cast<float>(x); });
    }
    ScratchArray<float> block(size * kBlockItems);
    double sum = 0.0;
    for (std::size_t b = 0; b < n_blocks; ++b) {
        const std::size_t first = b * kBlockItems;
        const std::size_t n = std::min(kBlockItems, size - first);
        for (std::size_t d = 0; d < size; ++d) {
            float* to = &block[d * kBlockItems];
            std::fill(std::copy_n(&directions[d * size + first], n, to), to + kBlockItems, 0.0f);
        }
        float residual[kBlockItems] = {};
        for (std::size_t s = 0; s < size; s += kMaxDirections) {
            const std::size_t at_once = std::min(kMaxDirections, size - s);
            kernels().downdate_rho(&block[0], size, &directions[s * size], at_once, nullptr, residual);
        }
        sum -= std::accumulate(residual, residual + kBlockItems, 0.0);
    }
    // The error of an entry of M² is at most (size + 2)·2⁻²⁴·λ², that of their norm size times as much; here doubled.
    const auto width = static_cast<double>(size);
    const double error = 2.0 * width * (width + 2.0) * 0x1p-24;
    return error < 0.5 ? std::sqrt(std::sqrt(sum) * (1.0 + width * 0x1p-22) / (1.0 - error))
                       : std::numeric_limits<double>::infinity();
}

}  // namespace karec
