#include "diversity/residual.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/isa_table.hpp"

namespace karec {

// out = matrix · feature: a sum of its rows, of which most behind dense_ are left out.
void Residual::multiply(std::span<const double> feature, std::span<double> out) const {
    const DiversityKernels& loops = diversity_kernels();
    loops.gemv_minus(matrix_.get(), dense_, width_, nullptr, feature.data(), out.data());
    for (std::size_t row = dense_; row < width_; ++row) {
        if (feature[row] == 0.0) continue;
        loops.gemv_minus(&matrix_[row * width_], 1, width_, out.data(), &feature[row], out.data());
    }
    for (double& x : out) x = -x;
}

double Residual::apply(std::span<const double> feature, std::span<double> out) {
    const DiversityKernels& loops = diversity_kernels();
    if (matrix_ && pending_.empty()) {
        multiply(feature, out);
        double explained = 0.0;
        for (std::size_t d = 0; d < width_; ++d) explained += feature[d] * (feature[d] - out[d]);
        return explained;
    }
    if (matrix_) {
        const double explained =
            loops.syr_downdate_symv(pending_.data(), width_, matrix_.get(), feature.data(), out.data());
        pending_.clear();
        return explained;
    }
    parts_.resize(listed());
    return loops.gram_schmidt(directions_.data(), listed(), width_, feature.data(), parts_.data(), out.data());
}

void Residual::add(std::span<const double> direction) {
    if (!matrix_) {
        directions_.insert(directions_.end(), direction.begin(), direction.end());
        ++n_listed_;
    } else {
        apply_pending();
        pending_.assign(direction.begin(), direction.end());
    }
}

void Residual::widen(std::size_t width) {
    apply_pending();
    const std::size_t n = matrix_ ? width_ : listed();
    const double* rows = matrix_ ? matrix_.get() : directions_.data();
    const std::size_t n_after = matrix_ ? width : n;
    Aligned<double> wider = aligned<double>(n_after * width);
    std::fill_n(wider.get(), n_after * width, 0.0);
    for (std::size_t row = 0; row < n; ++row) std::copy_n(rows + row * width_, width_, &wider[row * width]);
    if (matrix_) {
        for (std::size_t j = width_; j < width; ++j) wider[j * width + j] = 1.0;
        matrix_ = std::move(wider);
    } else {
        directions_.assign(wider.get(), wider.get() + n * width);
    }
    width_ = width;
}

void Residual::extend(const NewCoordinate& coordinate, std::optional<std::size_t> position, double inverse_root) {
    const auto [at, owner, root_weight, share] = coordinate;
    if (!matrix_) {
        for (std::size_t s = position.value_or(0); s < listed(); ++s) {
            double* u = &directions_[s * width_];
            u[at] = position == s ? root_weight * inverse_root
                                  : -share * std::inner_product(u, u + width_, owner.begin(), 0.0);
        }
        return;
    }
    std::vector<double> left(width_);
    const double explained = apply(owner, left);
    double square = 0.0;
    for (const double x : owner) square += x * x;
    for (std::size_t j = 0; j < width_; ++j) matrix_[at * width_ + j] = matrix_[j * width_ + at] = -share * left[j];
    matrix_[at * width_ + at] = 1.0 - root_weight * share + share * share * (square - explained);
}

void Residual::apply_pending() {
    if (!pending_.empty()) diversity_kernels().syr_downdate(pending_.data(), width_, matrix_.get());
    pending_.clear();
}

// Row j of M is e_j − Σ_s u_s[j]·u_s.
void Residual::fold() {
    if (matrix_) return;
    matrix_ = aligned<double>(width_ * width_);
    parts_.resize(listed());
    std::vector<double> unit(width_, 0.0);
    for (std::size_t j = 0; j < width_; ++j) {
        for (std::size_t s = 0; s < parts_.size(); ++s) parts_[s] = directions_[s * width_ + j];
        unit[j] = 1.0;
        diversity_kernels().gemv_minus(directions_.data(), parts_.size(), width_, unit.data(), parts_.data(),
                                       &matrix_[j * width_]);
        unit[j] = 0.0;
    }
    clear();
}

double Residual::diagonal(std::size_t at) {
    apply_pending();
    return matrix_[at * width_ + at];
}

std::size_t Residual::price_of_bound(std::size_t size) noexcept {
    return size * ((size + kBlockItems - 1) / kBlockItems);
}

double Residual::bound(std::size_t size) {
    fold();
    apply_pending();
    const std::size_t n_blocks = (size + kBlockItems - 1) / kBlockItems;
    // M is symmetric: use its rows as directions and its columns as items, so that downdate_rho sums the squares of M².
    std::vector<float> directions(size * size);
    for (std::size_t row = 0; row < size; ++row) {
        std::transform(&matrix_[row * width_], &matrix_[row * width_] + size, &directions[row * size],
                       [](double x) { return static_cast<float>(x); });
    }
    const Aligned<float> block = aligned<float>(size * kBlockItems);
    double sum = 0.0;
    for (std::size_t b = 0; b < n_blocks; ++b) {
        const std::size_t first = b * kBlockItems;
        const std::size_t n = std::min(kBlockItems, size - first);
        for (std::size_t d = 0; d < size; ++d) {
            float* to = &block[d * kBlockItems];
            std::fill(std::copy_n(&directions[d * size + first], n, to), to + kBlockItems, 0.0f);
        }
        float left[kBlockItems] = {};
        for (std::size_t s = 0; s < size; s += kDirectionsAtOnce) {
            const std::size_t at_once = std::min(kDirectionsAtOnce, size - s);
            diversity_kernels().downdate_rho(block.get(), size, &directions[s * size], at_once, nullptr, left);
        }
        sum -= std::accumulate(left, left + kBlockItems, 0.0);
    }
    // An entry of M² is off by at most (size + 2)·2⁻²⁴·λ², their norm by size times that; doubled for safety.
    const auto width = static_cast<double>(size);
    const double error = 2.0 * width * (width + 2.0) * 0x1p-24;
    return error < 0.5 ? std::sqrt(std::sqrt(sum) * (1.0 + width * 0x1p-22) / (1.0 - error))
                       : std::numeric_limits<double>::infinity();
}

}  // namespace karec
