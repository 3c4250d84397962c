#include "diversity/type_effects.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/isa_table.hpp"

namespace karec {

TypeEffects::TypeEffects(const DppProblem& problem)
    : dim_(problem.dim()),
      weight_(problem.type_weight),
      ridge_(problem.ridge),
      feature_scale_(problem.feature_scale),
      n_types_(problem.types_count() ? problem.n_types : 0),
      slot_of_(n_types_, kNoSlot) {}

double TypeEffects::own(std::size_t type) const noexcept {
    if (type == kNoType) return 0.0;
    return has_picks(type) ? ridge_ * shrinkage(slots_[slot_of_[type]]) : weight_;
}

void TypeEffects::centre(std::size_t type, std::span<const double> feature, std::span<double> out) const noexcept {
    const std::size_t slot = slot_of_[type];
    const double factor = shrinkage(slots_[slot]);
    const double* sum = sums_.data() + slot * dim_;
    for (std::size_t d = 0; d < dim_; ++d) out[d] = feature[d] - factor * sum[d];
}

std::span<const float> TypeEffects::pick(std::size_t type, std::span<const double> feature, double rho,
                                         std::span<const float> direction, bool last) {
    const double own_before = own(type);
    if (type != kNoType && !last && !has_picks(type)) take_slot(type);
    offsets_.assign((slots_.size() + kBlockItems - 1) / kBlockItems * kBlockItems, 0.0f);
    backwards_.resize(dim_);
    for (std::size_t d = 0; d < dim_; ++d) backwards_[d] = -direction[d];
    for (std::size_t first = 0; first < slots_.size(); first += kBlockItems) {
        scoring_kernels().gemv_packed(means_.data() + first * dim_, dim_, backwards_.data(), &offsets_[first]);
    }
    if (has_picks(type)) {
        const std::size_t at = slot_of_[type];
        offsets_[at] += static_cast<float>(own_before / std::sqrt(rho));
        Slot& slot = slots_[at];
        slot.n_picks += 1.0;
        const double factor = shrinkage(slot);
        double* sum = sums_.data() + at * dim_;
        float* packed = mean(at);
        double squared = 0.0;
        for (std::size_t d = 0; d < dim_; ++d) {
            sum[d] += feature[d];
            squared += sum[d] * sum[d];
            packed[d * kBlockItems] = static_cast<float>(factor * sum[d]);
        }
        slot.mean_length = factor * std::sqrt(squared);
    }
    return std::span(offsets_).first(slots_.size());
}

void TypeEffects::clear() noexcept {
    for (const Slot& slot : slots_) slot_of_[slot.type] = kNoSlot;
    slots_.clear();
    sums_.clear();
}

// |h| ≤ |g| + |mean|, so hᵀQ h ≤ λ·(|g| + |mean|)².
double TypeEffects::bound(double most_eigenvalue) const noexcept {
    const double without_picks = most_eigenvalue * feature_scale_ * feature_scale_ + weight_;
    double most = slots_.size() < n_types_ || n_types_ == 0 ? without_picks : 0.0;
    for (const Slot& slot : slots_) {
        const double length = feature_scale_ + slot.mean_length;
        most = std::max(most, most_eigenvalue * length * length + ridge_ * shrinkage(slot));
    }
    return most;
}

float* TypeEffects::mean(std::size_t slot) noexcept {
    return means_.data() + slot / kBlockItems * kBlockItems * dim_ + slot % kBlockItems;
}

std::size_t TypeEffects::take_slot(std::size_t type) {
    const std::size_t slot = slots_.size();
    slots_.push_back({type, 0.0, 0.0});
    slot_of_[type] = static_cast<std::uint32_t>(slot);
    sums_.resize(slots_.size() * dim_, 0.0);
    means_.resize(std::max(means_.size(), (slot / kBlockItems + 1) * kBlockItems * dim_), 0.0f);
    for (std::size_t d = 0; d < dim_; ++d) mean(slot)[d * kBlockItems] = 0.0f;
    return slot;
}

}  // namespace karec
