#include "residual.hpp"

#include <algorithm>

#include "diversity_loops.hpp"

namespace karec {

double Residual::apply(std::span<const double> feature, std::span<double> out) {
    const DiversityLoops& loops = diversity_loops();
    if (!matrix_.empty()) return loops.apply_matrix(matrix_.data(), width_, feature.data(), out.data());
    parts_.resize(listed());
    return loops.project_out(directions_.data(), listed(), width_, feature.data(), parts_.data(), out.data());
}

void Residual::add(std::span<const double> direction) {
    if (matrix_.empty()) {
        directions_.insert(directions_.end(), direction.begin(), direction.end());
    } else {
        diversity_loops().take_outer(direction.data(), width_, matrix_.data());
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
