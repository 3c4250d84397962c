#include "diversity/explained.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.hpp"

namespace karec {
namespace {

constexpr std::size_t kRoom = 8;  // coordinates that M grows by at once

}  // namespace

Explained::Explained(const DppProblem& problem)
    : problem_(problem),
      dim_(problem.dim()),
      width_(dim_),
      values_(problem.facets),
      n_shared_(problem.facets.size(), 0),
      permanent_(width_),
      passing_(width_),
      features_(width_),
      direction_(width_),
      of_passing_(width_),
      of_owner_(width_),
      vector_(dim_) {
    for (const double weight : problem.facets.weights) root_weights_.push_back(std::sqrt(weight));
}

double Explained::rho(std::size_t row) {
    row_ = row;
    first_rho_ = problem_.feature(row, std::span(features_).first(dim_));
    noise_ = problem_.ridge;
    std::fill(features_.begin() + static_cast<std::ptrdiff_t>(dim_), features_.end(), 0.0);
    for (std::size_t f = 0; f < root_weights_.size(); ++f) {
        const std::uint32_t found = values_.slot(f, row);
        if (found == FacetValues::kNoValue) continue;
        const bool has_slot = FacetValues::is_slot(found);
        if (has_slot && slots_[found].owner != kNone) share(slots_[found]);
        if (has_slot && slots_[found].coordinate != kNone) {
            features_[dim_ + slots_[found].coordinate] = root_weights_[f];
        } else {
            noise_ += problem_.facets.weights[f];
        }
    }
    double explained = permanent_.apply(features_, direction_);
    if (passing_.listed() > 0) {
        explained += passing_.apply(features_, of_passing_);
        for (std::size_t j = 0; j < width_; ++j) direction_[j] -= features_[j] - of_passing_[j];
    }
    return first_rho_ - explained;
}

DppDirection Explained::count(double rho, bool permanent) {
    const double inverse_root = 1.0 / std::sqrt(rho);
    for (double& x : direction_) x *= inverse_root;
    for (std::size_t d = 0; d < dim_; ++d) vector_[d] = static_cast<float>(direction_[d]);
    joined_.clear();
    const std::size_t n_owners = owners_.size();
    const bool owns = own_values(row_);
    set_offsets(n_owners, inverse_root);
    Residual& residual = permanent ? permanent_ : passing_;
    if (owns) add_owner(inverse_root, permanent, residual.listed());
    residual.add(direction_);
    if (permanent && 2 * permanent_.listed() > width_) permanent_.fold();
    return {vector_, offsets_, joined_};
}

// Makes the row the owner of its values that have no coordinate; those that no other row has need no slot. Whether
// it owns any.
bool Explained::own_values(std::size_t row) {
    bool owns = false;
    for (std::size_t f = 0; f < root_weights_.size(); ++f) {
        std::uint32_t slot = values_.slot(f, row);
        if (slot == FacetValues::kNotCounted) {
            const auto next = static_cast<std::uint32_t>(slots_.size());
            slot = values_.count(f, row, next, joined_);
            if (slot == next) slots_.push_back({static_cast<std::uint32_t>(f)});
        }
        if (!FacetValues::is_slot(slot) || slots_[slot].coordinate != kNone) continue;
        slots_[slot].owner = static_cast<std::uint32_t>(owners_.size());
        owns = true;
    }
    return owns;
}

void Explained::add_owner(double inverse_root, bool permanent, std::size_t place) {
    const std::size_t owner = owners_.size();
    const std::size_t n_facets = root_weights_.size();
    owners_.push_back({permanent, place, noise_, inverse_root, 0});
    owner_vectors_.resize(owners_.size() * dim_);
    std::copy_n(features_.begin(), dim_, &owner_vectors_[owner * dim_]);
    packed_.resize(std::max(packed_.size(), (owner / kBlockItems + 1) * kBlockItems * dim_), 0.0f);
    float* packed = packed_.data() + owner / kBlockItems * kBlockItems * dim_ + owner % kBlockItems;
    for (std::size_t d = 0; d < dim_; ++d) packed[d * kBlockItems] = static_cast<float>(features_[d]);
    owner_slots_.resize(owners_.size() * n_facets);
    for (std::size_t f = 0; f < n_facets; ++f) {
        const std::uint32_t slot = values_.slot(f, row_);
        if (!FacetValues::is_slot(slot) || slots_[slot].coordinate == kNone) continue;
        owner_slots_[owner * n_facets + owners_[owner].n_shared++] = slot;
    }
    if (permanent) n_permanent_ = owners_.size();
}

void Explained::own_features(std::size_t owner, std::span<double> out) const {
    std::fill(std::copy_n(&owner_vectors_[owner * dim_], dim_, out.begin()), out.end(), 0.0);
    for (std::size_t i = 0; i < owners_[owner].n_shared; ++i) {
        const Slot& slot = slots_[owner_slots_[owner * root_weights_.size() + i]];
        out[dim_ + slot.coordinate] = root_weights_[slot.facet];
    }
}

// Offsets of the direction: of shared values its coordinate, of owned ones by their owner, of the row's own as M is the
// identity there.
void Explained::set_offsets(std::size_t n_owners, double inverse_root) {
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
        const double weight = problem_.facets.weights[slot.facet];
        double offset = 0.0;
        if (slot.coordinate != kNone) {
            offset = root_weights_[slot.facet] * direction_[dim_ + slot.coordinate];
        } else if (slot.owner != kNone) {
            offset = weight * (slot.owner < n_owners ? -static_cast<double>(products_[slot.owner]) : inverse_root);
        }
        offsets_[s] = static_cast<float>(offset);
    }
}

void Explained::share(Slot& slot) {
    const std::size_t o = slot.owner;
    Owner& owner = owners_[o];
    const double root_weight = root_weights_[slot.facet];
    if (dim_ + n_coordinates_ == width_) widen();
    slot.coordinate = static_cast<std::uint32_t>(n_coordinates_++);
    slot.owner = kNone;
    ++n_shared_[slot.facet];
    own_features(o, of_owner_);
    const NewCoordinate coordinate{dim_ + slot.coordinate, of_owner_, root_weight, root_weight / owner.noise};
    if (owner.permanent) {
        permanent_.extend(coordinate, owner.place, owner.inverse_root);
        passing_.extend(coordinate, std::nullopt, 0.0);
    } else {
        passing_.extend(coordinate, owner.place, owner.inverse_root);
    }
    owner.noise -= problem_.facets.weights[slot.facet];
    owner_slots_[o * root_weights_.size() + owner.n_shared++] = static_cast<std::uint32_t>(&slot - slots_.data());
}

void Explained::widen() {
    width_ += kRoom;
    permanent_.widen(width_);
    passing_.widen(width_);
    for (std::vector<double>* each : {&features_, &direction_, &of_passing_, &of_owner_}) each->resize(width_, 0.0);
}

void Explained::clear_passing() {
    passing_.clear();
    for (Slot& slot : slots_) {
        if (slot.owner != kNone && slot.owner >= n_permanent_) slot.owner = kNone;
    }
    owners_.resize(n_permanent_);
}

// An item whose values are of the kinds U (not counted), P (of one owner), S (shared) has ρ − r = Σ_U w + its noise of
// P, at most Σ_P (w − w²/n) with n ≤ r + Σ w, + hᵀM h, h = φ' − Σ_P w/n·φ'_owner over the coordinates that are held.
// √(hᵀM h) ≤ √(φ'ᵀM φ') + Σ_P w/(r + w)·√(φ'_ownerᵀM φ'_owner), and each of these roots is at most √(λ·(1 − Σ w)) + Σ_S
// √(w·M_vv), λ the largest eigenvalue of M in the coordinates of vectors. With U alone the last term is λ·(1 − Σ w).
double Explained::bound() {
    const std::vector<double>& weights = problem_.facets.weights;
    const double scale = problem_.feature_scale;
    const double of_vector = permanent_.bound(dim_) * scale * scale;
    std::vector<double> most_shared(weights.size(), 0.0);  // the largest M_vv of each facet
    std::vector<bool> has_owned(weights.size(), false);
    for (const Slot& slot : slots_) {
        has_owned[slot.facet] = has_owned[slot.facet] || slot.owner != kNone;
        if (slot.coordinate == kNone) continue;
        most_shared[slot.facet] = std::max(most_shared[slot.facet], permanent_.diagonal(dim_ + slot.coordinate));
    }
    double own = 0.0;    // Σ of the most that a facet's value may have for itself
    double falls = 1.0;  // the least that `own` falls by where some value is counted
    double root = std::sqrt(of_vector);
    double of_owners = 0.0;
    bool none_counted = true;  // whether an item may have no counted value
    for (std::size_t f = 0; f < weights.size(); ++f) {
        const double w = weights[f];
        const bool has_new = values_.n_counted(f) < problem_.n();
        const double owned = has_owned[f] ? w - w * w / (problem_.ridge + 1.0 - scale * scale) : 0.0;
        own += has_new ? w : owned;
        falls = std::min(falls, has_new ? w - owned : 0.0);
        root += std::sqrt(w * most_shared[f]);
        of_owners += has_owned[f] ? w / (problem_.ridge + w) : 0.0;
        none_counted = none_counted && has_new;
    }
    const double length = root * (1.0 + of_owners);
    if (weights.empty()) return of_vector;
    const double counted = own - falls + length * length;
    return none_counted ? std::max(own + of_vector, counted) : counted;
}

}  // namespace karec
