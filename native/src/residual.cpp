#include "residual.hpp"

#include <algorithm>

namespace karec {
namespace {

// Eight partial sums and a fixed tree: the order does not depend on the instruction set.
double dot(const double* a, const double* b, std::size_t n) noexcept {
    double sums[8] = {};
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (std::size_t j = 0; j < 8; ++j) sums[j] += a[i + j] * b[i + j];
    }
    for (; i < n; ++i) sums[i % 8] += a[i] * b[i];
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

void add_scaled(double factor, const double* x, double* to, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; ++i) to[i] += factor * x[i];
}

}  // namespace

double Residual::apply(std::span<const double> feature, std::span<double> out) const noexcept {
    if (!matrix_.empty()) {
        std::fill(out.begin(), out.end(), 0.0);
        for (std::size_t j = 0; j < width_; ++j) add_scaled(feature[j], &matrix_[j * width_], out.data(), width_);
        return dot(feature.data(), feature.data(), width_) - dot(feature.data(), out.data(), width_);
    }
    std::copy(feature.begin(), feature.end(), out.begin());
    double explained = 0.0;
    for (std::size_t s = 0; s < listed(); ++s) {
        const double* u = &directions_[s * width_];
        const double part = dot(u, feature.data(), width_);
        add_scaled(-part, u, out.data(), width_);
        explained += part * part;
    }
    return explained;
}

void Residual::add(std::span<const double> direction) {
    if (matrix_.empty()) {
        directions_.insert(directions_.end(), direction.begin(), direction.end());
        return;
    }
    for (std::size_t j = 0; j < width_; ++j) {
        add_scaled(-direction[j], direction.data(), &matrix_[j * width_], width_);
    }
}

void Residual::fold() {
    if (!matrix_.empty()) return;
    matrix_.assign(width_ * width_, 0.0);
    for (std::size_t j = 0; j < width_; ++j) matrix_[j * width_ + j] = 1.0;
    const std::vector<double> listed_directions = std::move(directions_);
    directions_.clear();
    for (std::size_t s = 0; s * width_ < listed_directions.size(); ++s) {
        add(std::span(listed_directions).subspan(s * width_, width_));
    }
}

}  // namespace karec
