#include "diversity/dpp_conditional_variance.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.hpp"

namespace karec {
namespace {

constexpr std::size_t kNewCoordinates = 8;  // M grows by so many at once

}  // namespace

DppConditionalVariance::DppConditionalVariance(const DppProblem& problem)
    : problem_(problem),
      dim_(problem.dim()),
      width_(dim_),
      facet_slots_(problem.rows),
      permanent_(width_),
      window_(width_),
      feature_(width_),
      direction_(width_),
      window_direction_(width_),
      owner_feature_(width_),
      vector_(dim_) {
    for (const double weight : problem.rows.facets.weights) root_weights_.push_back(std::sqrt(weight));
}

double DppConditionalVariance::rho(std::size_t row) {
    row_ = row;
    first_rho_ = problem_.feature(row, std::span(feature_).first(dim_));
    noise_ = problem_.ridge;
    std::fill(feature_.begin() + static_cast<std::ptrdiff_t>(dim_), feature_.end(), 0.0);
    for (std::size_t f = 0; f < root_weights_.size(); ++f) {
        const std::uint32_t slot = facet_slots_.slot(f, row);
        if (slot == FacetSlots::kNoValue) continue;
        const bool has_slot = FacetSlots::is_slot(slot);
        if (has_slot && slots_[slot].owner != kNone) share(slots_[slot]);
        if (has_slot && slots_[slot].coordinate != kNone) {
            feature_[dim_ + slots_[slot].coordinate] = root_weights_[f];
        } else {
            noise_ += problem_.rows.facets.weights[f];
        }
    }
    double explained = permanent_.apply(feature_, direction_);
    if (window_.n_listed() > 0) {
        explained += window_.apply(feature_, window_direction_);
        for (std::size_t j = 0; j < width_; ++j) direction_[j] -= feature_[j] - window_direction_[j];
    }
    return first_rho_ - explained;
}

DppDirection DppConditionalVariance::add(double rho, bool is_permanent) {
    const double inverse_root = 1.0 / std::sqrt(rho);
    for (double& x : direction_) x *= inverse_root;
    for (std::size_t d = 0; d < dim_; ++d) vector_[d] = static_cast<float>(direction_[d]);
    slot_rows_.clear();
    const std::size_t n_owners = owners_.size();
    const bool is_owner = add_values(row_);
    set_offsets(n_owners, inverse_root);
    DppResidual& residual = is_permanent ? permanent_ : window_;
    if (is_owner) add_owner(inverse_root, is_permanent, residual.n_listed());
    residual.add(direction_);
    if (is_permanent && 2 * permanent_.n_listed() > width_) permanent_.fold();
    return {vector_, offsets_, slot_rows_};
}

// Makes the row the owner of its values that have no coordinate, and returns true if there are any. Values that no
// other row has need no slot.
bool DppConditionalVariance::add_values(std::size_t row) {
    bool is_owner = false;
    for (std::size_t f = 0; f < root_weights_.size(); ++f) {
        std::uint32_t slot = facet_slots_.slot(f, row);
        if (slot == FacetSlots::kNotAdded) {
            const auto next = static_cast<std::uint32_t>(slots_.size());
            slot = facet_slots_.add(f, row, next, slot_rows_);
            if (slot == next) slots_.push_back({static_cast<std::uint32_t>(f)});
        }
        if (!FacetSlots::is_slot(slot) || slots_[slot].coordinate != kNone) continue;
        slots_[slot].owner = static_cast<std::uint32_t>(owners_.size());
        is_owner = true;
    }
    return is_owner;
}

void DppConditionalVariance::add_owner(double inverse_root, bool is_permanent, std::size_t position) {
    const std::size_t owner = owners_.size();
    const std::size_t n_facets = root_weights_.size();
    owners_.push_back({is_permanent, position, noise_, inverse_root, 0});
    owner_vectors_.resize(owners_.size() * dim_);
    std::copy_n(feature_.begin(), dim_, owner_vectors_.data() + owner * dim_);
    packed_.resize(std::max(packed_.size(), (owner / kBlockItems + 1) * kBlockItems * dim_), 0.0f);
    float* packed = packed_.data() + owner / kBlockItems * kBlockItems * dim_ + owner % kBlockItems;
    for (std::size_t d = 0; d < dim_; ++d) packed[d * kBlockItems] = static_cast<float>(feature_[d]);
    owner_slots_.resize(owners_.size() * n_facets);
    for (std::size_t f = 0; f < n_facets; ++f) {
        const std::uint32_t slot = facet_slots_.slot(f, row_);
        if (!FacetSlots::is_slot(slot) || slots_[slot].coordinate == kNone) continue;
        owner_slots_[owner * n_facets + owners_[owner].n_shared++] = slot;
    }
    if (is_permanent) n_permanent_ = owners_.size();
}

void DppConditionalVariance::write_owner_feature(std::size_t owner, std::span<double> out) const {
    std::fill(std::copy_n(owner_vectors_.data() + owner * dim_, dim_, out.begin()), out.end(), 0.0);
    for (std::size_t i = 0; i < owners_[owner].n_shared; ++i) {
        const Slot& slot = slots_[owner_slots_[owner * root_weights_.size() + i]];
        out[dim_ + slot.coordinate] = root_weights_[slot.facet];
    }
}

// Offsets of the direction: of shared values its coordinate, of owned ones by their owner, of the row's own as M is the
// identity there.
void DppConditionalVariance::set_offsets(std::size_t n_owners, double inverse_root) {
    offsets_.assign(slots_.size(), 0.0f);
    if (slots_.empty()) return;
    products_.assign((n_owners + kBlockItems - 1) / kBlockItems * kBlockItems, 0.0f);
    for (std::size_t first = 0; first < n_owners; first += kBlockItems) {
        kernels().gemv_packed(packed_.data() + first * dim_, dim_, vector_.data(), &products_[first]);
    }
    for (std::size_t o = 0; o < n_owners; ++o) {
        double product = products_[o];
        for (std::size_t i = 0; i < owners_[o].n_shared; ++i) {
            const Slot& slot = slots_[owner_slots_[o * root_weights_.size() + i]];
            product += root_weights_[slot.facet] * direction_[dim_ + slot.coordinate];
        }
        products_[o] = static_cast<float>(product / owners_[o].noise);
    }
    for (std::size_t s = 0; s < slots_.size(); ++s) {
        const Slot& slot = slots_[s];
        const double weight = problem_.rows.facets.weights[slot.facet];
        double offset = 0.0;
        if (slot.coordinate != kNone) {
            offset = root_weights_[slot.facet] * direction_[dim_ + slot.coordinate];
        } else if (slot.owner != kNone) {
            offset = weight * (slot.owner < n_owners ? -static_cast<double>(products_[slot.owner]) : inverse_root);
        }
        offsets_[s] = static_cast<float>(offset);
    }
}

void DppConditionalVariance::share(Slot& slot) {
    const std::size_t o = slot.owner;
    Owner& owner = owners_[o];
    const double root_weight = root_weights_[slot.facet];
    if (dim_ + n_coordinates_ == width_) widen();
    slot.coordinate = static_cast<std::uint32_t>(n_coordinates_++);
    slot.owner = kNone;
    write_owner_feature(o, owner_feature_);
    const NewCoordinate coordinate{dim_ + slot.coordinate, owner_feature_, root_weight, root_weight / owner.noise};
    if (owner.is_permanent) {
        permanent_.extend(coordinate, owner.position, owner.inverse_root);
        window_.extend(coordinate, std::nullopt, 0.0);
    } else {
        window_.extend(coordinate, owner.position, owner.inverse_root);
    }
    owner.noise -= problem_.rows.facets.weights[slot.facet];
    owner_slots_[o * root_weights_.size() + owner.n_shared++] = static_cast<std::uint32_t>(&slot - slots_.data());
}

void DppConditionalVariance::widen() {
    width_ += kNewCoordinates;
    permanent_.widen(width_);
    window_.widen(width_);
    for (std::vector<double>* values : {&feature_, &direction_, &window_direction_, &owner_feature_}) {
        values->resize(width_, 0.0);
    }
}

void DppConditionalVariance::clear_window() {
    window_.clear();
    for (Slot& slot : slots_) {
        if (slot.owner != kNone && slot.owner >= n_permanent_) slot.owner = kNone;
    }
    owners_.resize(n_permanent_);
}

// Values of an item are not added (U), of one owner (P) or shared (S). Then ρ − r = Σ_U w + noise of P + hᵀM h with
// h = φ' − Σ_P w/n·φ'_owner over the coordinates of M. The noise is at most Σ_P (w − w²/n) with n ≤ r + Σ w. √(hᵀM h) ≤
// √(φ'ᵀM φ') + Σ_P w/(r + w)·√(φ'_ownerᵀM φ'_owner), and each of these roots is at most √(λ·(1 − Σ w)) + Σ_S √(w·M_vv),
// with λ the largest eigenvalue of M in the coordinates of vectors. With U only, the last term is λ·(1 − Σ w).
double DppConditionalVariance::bound() {
    const std::vector<double>& weights = problem_.rows.facets.weights;
    const double scale = problem_.rows.vector_length;
    const double vector_bound = permanent_.bound(dim_) * scale * scale;
    if (weights.empty()) return vector_bound;
    std::vector<double> max_shared(weights.size(), 0.0);  // the largest M_vv of each facet
    std::vector<bool> has_owners(weights.size(), false);
    for (const Slot& slot : slots_) {
        has_owners[slot.facet] = has_owners[slot.facet] || slot.owner != kNone;
        if (slot.coordinate == kNone) continue;
        max_shared[slot.facet] = std::max(max_shared[slot.facet], permanent_.diagonal(dim_ + slot.coordinate));
    }
    double noise = 0.0;     // largest Σ_U w + noise of P
    double min_fall = 1.0;  // of `noise`, for an item with an added value
    double root = std::sqrt(vector_bound);
    double owner_factor = 0.0;
    bool can_be_new = true;  // an item may have no added value
    for (std::size_t f = 0; f < weights.size(); ++f) {
        const double w = weights[f];
        const bool has_new = facet_slots_.n_added(f) < problem_.n();
        const double owned = has_owners[f] ? w - w * w / (problem_.ridge + 1.0 - scale * scale) : 0.0;
        noise += has_new ? w : owned;
        min_fall = std::min(min_fall, has_new ? w - owned : 0.0);
        root += std::sqrt(w * max_shared[f]);
        owner_factor += has_owners[f] ? w / (problem_.ridge + w) : 0.0;
        can_be_new = can_be_new && has_new;
    }
    const double length = root * (1.0 + owner_factor);
    const double added_bound = noise - min_fall + length * length;
    return can_be_new ? std::max(noise + vector_bound, added_bound) : added_bound;
}

}  // namespace karec
