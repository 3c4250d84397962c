#include "dpp_blocks.hpp"

#include <algorithm>
#include <numeric>

namespace karec {
namespace {

constexpr std::size_t kChunk = 4;  // directions between two looks at whether a block still matters

}  // namespace

DppBlocks::DppBlocks(const DppProblem& problem) : problem_(problem) {
    const std::size_t n = problem.n();
    const std::size_t n_blocks = (n + kBlockItems - 1) / kBlockItems;
    const auto first_gain = [&](std::uint32_t i) { return problem.q2[i] * problem.first_rho[i]; };
    order_.resize(n);
    std::iota(order_.begin(), order_.end(), 0u);
    const auto before = [&](std::uint32_t a, std::uint32_t b) {
        const double gain_a = first_gain(a);
        const double gain_b = first_gain(b);
        return gain_a != gain_b ? gain_a > gain_b : a < b;
    };
    if (!std::is_sorted(order_.begin(), order_.end(), before)) std::sort(order_.begin(), order_.end(), before);
    place_.resize(n);
    q2_.assign(n_blocks * kBlockItems, 0.0);
    rho_.assign(n_blocks * kBlockItems, 0.0f);
    least_rho_.assign(n_blocks * kBlockItems, 0.0f);
    blocks_.resize(n_blocks);
    for (std::size_t at = 0; at < n; ++at) {
        const std::uint32_t item = order_[at];
        place_[item] = static_cast<std::uint32_t>(at);
        q2_[at] = problem.q2[item];
        rho_[at] = static_cast<float>(problem.first_rho[item]);
        least_rho_[at] = static_cast<float>(kLeastShare * problem.first_rho[item]);
    }
    for (std::size_t b = 0; b < n_blocks; ++b) {
        blocks_[b].bound = std::numeric_limits<double>::infinity();
        const DppPick pick = largest(b, &rho_[b * kBlockItems]);
        blocks_[b].bound = pick.gain;
        blocks_[b].best_item = pick.item;
        blocks_[b].stale = false;
    }
    features_ = std::make_unique_for_overwrite<float[]>(n_blocks * kBlockItems * problem.dim());
}

void DppBlocks::add(std::span<const double> direction, Directions& to) const {
    const std::size_t dim = problem_.dim();
    for (std::size_t d = 0; d < dim; ++d) to.values.push_back(static_cast<float>(direction[d]));
    for (std::size_t type = dim; type < problem_.width(); ++type) {
        to.type_part.push_back(static_cast<float>(problem_.type_scale * direction[type]));
    }
    ++to.count;
}

void DppBlocks::add_permanent(std::span<const double> direction) {
    add(direction, permanent_);
}
void DppBlocks::add_passing(std::span<const double> direction) {
    add(direction, passing_);
}
void DppBlocks::clear_passing() noexcept {
    passing_.values.clear();
    passing_.type_part.clear();
    passing_.count = 0;
}

void DppBlocks::pack(std::size_t b) {
    const std::size_t dim = problem_.dim();
    float* block = &features_[b * kBlockItems * dim];
    std::vector<double> feature(dim);
    for (std::size_t i = 0; i < kBlockItems; ++i) {
        const std::size_t at = b * kBlockItems + i;
        if (at < order_.size()) {
            problem_.embedding_part(order_[at], feature);
        } else {
            std::fill(feature.begin(), feature.end(), 0.0);
        }
        for (std::size_t d = 0; d < dim; ++d) block[d * kBlockItems + i] = static_cast<float>(feature[d]);
    }
    blocks_[b].packed = true;
}

void DppBlocks::apply(std::size_t b, const Directions& directions, std::size_t first, std::size_t last,
                      float* rho) const {
    const std::size_t dim = problem_.dim();
    const float* block = &features_[b * kBlockItems * dim];
    const std::size_t n = std::min(kBlockItems, order_.size() - b * kBlockItems);
    for (std::size_t s = first; s < last; ++s) {
        float dots[kBlockItems] = {};
        if (problem_.types_count()) {
            const float* part = &directions.type_part[s * problem_.n_types];
            for (std::size_t i = 0; i < n; ++i) {
                dots[i] = part[static_cast<std::size_t>(problem_.type_of[order_[b * kBlockItems + i]])];
            }
        }
        inner_loops().project(block, dim, &directions.values[s * dim], dots);
        for (std::size_t i = 0; i < kBlockItems; ++i) rho[i] -= dots[i] * dots[i];
    }
}

DppPick DppBlocks::largest(std::size_t b, const float* rho) const noexcept {
    const std::size_t start = b * kBlockItems;
    double gains[kBlockItems];
    for (std::size_t i = 0; i < kBlockItems; ++i) {
        const double gain = q2_[start + i] * static_cast<double>(rho[i]);
        gains[i] = rho[i] > least_rho_[start + i] ? gain : 0.0;
    }
    DppPick pick;
    for (std::size_t i = 0; i < kBlockItems; ++i) {
        if (gains[i] < pick.gain || gains[i] == 0.0) continue;
        const std::size_t item = order_[start + i];
        if (gains[i] > pick.gain || item < pick.item) pick = {gains[i], item};
    }
    return pick;
}

void DppBlocks::catch_up(std::size_t b, double best_gain) {
    Block& block = blocks_[b];
    float* rho = &rho_[b * kBlockItems];
    while (block.stale || block.seen < permanent_.count) {
        if (block.seen < permanent_.count) {
            if (!block.packed) pack(b);
            const std::size_t next = std::min(permanent_.count, block.seen + kChunk);
            apply(b, permanent_, block.seen, next, rho);
            block.seen = next;
        }
        const DppPick pick = largest(b, rho);
        block.bound = pick.gain;
        block.best_item = pick.item;
        block.stale = false;
        if (block.bound < best_gain) return;
    }
}

DppPick DppBlocks::with_passing(std::size_t b, double best_gain) const {
    float rho[kBlockItems];
    std::copy_n(&rho_[b * kBlockItems], kBlockItems, rho);
    DppPick pick = {blocks_[b].bound, blocks_[b].best_item};
    for (std::size_t first = 0; first < passing_.count; first += kChunk) {
        apply(b, passing_, first, std::min(passing_.count, first + kChunk), rho);
        pick = largest(b, rho);
        if (pick.gain < best_gain) return pick;
    }
    return pick;
}

DppPick DppBlocks::best() {
    DppPick best;
    for (std::size_t b = 0; b < blocks_.size(); ++b) {
        Block& block = blocks_[b];
        if (block.bound < best.gain || block.bound == 0.0) continue;
        catch_up(b, best.gain);
        if (block.bound < best.gain || block.bound == 0.0) continue;
        DppPick pick = {block.bound, block.best_item};
        if (passing_.count > 0) {
            if (!block.packed) pack(b);
            pick = with_passing(b, best.gain);
        }
        if (pick.gain > best.gain || (pick.gain == best.gain && pick.item < best.item)) best = pick;
    }
    return best;
}

void DppBlocks::remove(std::size_t item) {
    q2_[place_[item]] = 0.0;
    blocks_[place_[item] / kBlockItems].stale = true;
}

void DppBlocks::restore(std::size_t item) {
    Block& block = blocks_[place_[item] / kBlockItems];
    q2_[place_[item]] = problem_.q2[item];
    block.stale = true;
    block.bound = std::numeric_limits<double>::infinity();
}

}  // namespace karec
