#include "diversity/residual.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/isa_table.hpp"

namespace karec {

double Residual::apply(std::span<const double> feature, std::span<double> out) {
    const DiversityKernels& loops = diversity_kernels();
    if (matrix_ && pending_.empty()) return loops.symv(matrix_.get(), width_, feature.data(), out.data());
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

void Residual::fold() {
    if (matrix_) return;
    matrix_ = aligned<double>(width_ * width_);
    std::fill_n(matrix_.get(), width_ * width_, 0.0);
    for (std::size_t j = 0; j < width_; ++j) matrix_[j * width_ + j] = 1.0;
    const std::vector<double> listed_directions = std::move(directions_);
    directions_.clear();
    for (std::size_t s = 0; s * width_ < listed_directions.size(); ++s) {
        add(std::span(listed_directions).subspan(s * width_, width_));
    }
}

std::size_t Residual::price_of_bound() const noexcept {
    return width_ * ((width_ + kBlockItems - 1) / kBlockItems);
}

double Residual::bound() {
    apply_pending();
    const std::size_t n_blocks = (width_ + kBlockItems - 1) / kBlockItems;
    // M is symmetric: use its rows as directions and its columns as items, so that downdate_rho sums the squares of M².
    std::vector<float> directions(width_ * width_);
    std::transform(matrix_.get(), matrix_.get() + width_ * width_, directions.begin(),
                   [](double x) { return static_cast<float>(x); });
    const Aligned<float> block = aligned<float>(width_ * kBlockItems);
    double sum = 0.0;
    for (std::size_t b = 0; b < n_blocks; ++b) {
        const std::size_t first = b * kBlockItems;
        const std::size_t n = std::min(kBlockItems, width_ - first);
        for (std::size_t d = 0; d < width_; ++d) {
            float* to = &block[d * kBlockItems];
            std::fill(std::copy_n(&directions[d * width_ + first], n, to), to + kBlockItems, 0.0f);
        }
        float left[kBlockItems] = {};
        for (std::size_t s = 0; s < width_; s += kDirectionsAtOnce) {
            const std::size_t at_once = std::min(kDirectionsAtOnce, width_ - s);
            diversity_kernels().downdate_rho(block.get(), width_, &directions[s * width_], at_once, nullptr, left);
        }
        sum -= std::accumulate(left, left + kBlockItems, 0.0);
    }
    // An entry of M² is off by at most (width + 2)·2⁻²⁴·λ², their norm by width times that; doubled for safety.
    const auto width = static_cast<double>(width_);
    const double error = 2.0 * width * (width + 2.0) * 0x1p-24;
    return error < 0.5 ? std::sqrt(std::sqrt(sum) * (1.0 + width * 0x1p-22) / (1.0 - error))
                       : std::numeric_limits<double>::infinity();
}

}  // namespace karec
