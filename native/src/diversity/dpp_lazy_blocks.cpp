#include "diversity/dpp_lazy_blocks.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>

#include "kernels/kernels.hpp"

namespace karec {
namespace {

// Items by the upper 22 bits of their first gain, largest first, in two passes of a radix sort. The order decides how
// early an item is looked at, not which item wins.
std::vector<std::uint32_t> by_first_gain(const DppProblem& problem) {
    constexpr std::size_t kBits = 11;
    constexpr std::uint64_t kMask = (1u << kBits) - 1;
    const std::size_t n = problem.n();
    std::vector<std::uint32_t> keys(n);
    for (std::size_t i = 0; i < n; ++i) {
        const auto bits = std::bit_cast<std::uint64_t>(problem.q2[i] * problem.first_rho[i]);
        keys[i] = static_cast<std::uint32_t>(~(bits >> (63 - 2 * kBits)) & ((1u << 2 * kBits) - 1));
    }
    std::vector<std::uint32_t> order(n);
    std::vector<std::uint32_t> sorted(n);
    std::iota(order.begin(), order.end(), 0u);
    for (std::size_t shift = 0; shift < 2 * kBits; shift += kBits) {
        std::array<std::uint32_t, kMask + 1> starts{};
        for (const std::uint32_t key : keys) ++starts[(key >> shift) & kMask];
        std::exclusive_scan(starts.begin(), starts.end(), starts.begin(), 0u);
        for (const std::uint32_t item : order) sorted[starts[(keys[item] >> shift) & kMask]++] = item;
        order.swap(sorted);
    }
    return order;
}

// Four maxima side by side, so that a comparison does not wait for the one before.
std::size_t first_of_largest(std::span<const double> values) noexcept {
    double most[4] = {values[0], values[0], values[0], values[0]};
    std::size_t i = 0;
    for (; i + 4 <= values.size(); i += 4) {
        for (std::size_t lane = 0; lane < 4; ++lane) most[lane] = std::max(most[lane], values[i + lane]);
    }
    for (; i < values.size(); ++i) most[0] = std::max(most[0], values[i]);
    const double largest = std::max({most[0], most[1], most[2], most[3]});
    return static_cast<std::size_t>(std::ranges::find(values, largest) - values.begin());
}

}  // namespace

DppLazyBlocks::DppLazyBlocks(const DppProblem& problem)
    : problem_(problem),
      features_(problem.embeddings, problem.squared_norms, problem.feature_scale, by_first_gain(problem)),
      most_slots_(problem.facets.size() * kBlockItems),
      slots_at_(features_.count() * most_slots_),
      n_slots_(features_.count(), 0) {
    const std::size_t n = problem.n();
    const std::size_t n_blocks = features_.count();
    place_.resize(n);
    q2_.assign(n_blocks * kBlockItems, 0.0);
    rho_.assign(n_blocks * kBlockItems, 0.0f);
    least_rho_.assign(n_blocks * kBlockItems, 0.0f);
    blocks_.resize(n_blocks);
    bounds_.resize(n_blocks);
    most_q2_.resize(n_blocks);
    for (std::size_t at = 0; at < n; ++at) {
        const std::size_t item = features_.item(at);
        place_[item] = static_cast<std::uint32_t>(at);
        q2_[at] = problem.q2[item];
        rho_[at] = static_cast<float>(problem.first_rho[item]);
        least_rho_[at] = static_cast<float>(kLeastShare * problem.first_rho[item]);
    }
    double gains[kBlockItems];
    for (std::size_t b = 0; b < n_blocks; ++b) {
        bounds_[b] = largest(b, &rho_[b * kBlockItems], gains);
        blocks_[b].stale = false;
        const auto first = q2_.begin() + static_cast<std::ptrdiff_t>(b * kBlockItems);
        most_q2_[b] = *std::max_element(first, first + kBlockItems);
    }
}

// The bound on ρ in float32 includes its rounding error: a dot product of vectors no longer than 1 is off by at most
// (dim + 4)·2⁻²⁴, each offset by as much again, its square and the subtraction by 2⁻²⁴·(1 + ridge) a direction. Σ|dot|
// ≤ √count, as Σ dot² ≤ 1.
void DppLazyBlocks::cap(double most) {
    followed_ = 0;
    const auto count = static_cast<double>(permanent_.count);
    const auto n_terms = static_cast<double>(1 + problem_.facets.size());
    const double of_dot = n_terms * static_cast<double>(problem_.dim() + 4) * 0x1p-24;
    const double off = 2.0 * std::sqrt(count) * of_dot + count * (of_dot * of_dot + (2.0 + problem_.ridge) * 0x1p-23);
    most_rho_ = problem_.ridge + most + 2.0 * off;
    for (std::size_t b = 0; b < bounds_.size(); ++b) bounds_[b] = std::min(bounds_[b], most_q2_[b] * most_rho_);
}

void DppLazyBlocks::Directions::add(std::span<const float> direction, std::span<const float> offsets_by_slot) {
    values.insert(values.end(), direction.begin(), direction.end());
    offsets.insert(offsets.end(), offsets_by_slot.begin(), offsets_by_slot.end());
    offsets_to.push_back(offsets.size());
    ++count;
}
void DppLazyBlocks::Directions::clear() noexcept {
    values.clear();
    offsets.clear();
    offsets_to.resize(1);
    count = 0;
}

void DppLazyBlocks::add_permanent(std::span<const float> direction, std::span<const float> offsets) {
    permanent_.add(direction, offsets);
}
void DppLazyBlocks::add_passing(std::span<const float> direction, std::span<const float> offsets) {
    passing_.add(direction, offsets);
}
void DppLazyBlocks::clear_passing() noexcept {
    passing_.clear();
}

void DppLazyBlocks::join(std::span<const SlotOfRow> rows) {
    for (const auto [row, slot] : rows) {
        if (row >= place_.size()) continue;
        const std::size_t b = place_[row] / kBlockItems;
        slots_at_[b * most_slots_ + n_slots_[b]++] = {slot, static_cast<std::uint32_t>(place_[row] % kBlockItems)};
    }
}

// Subtracts from ρ the parts along directions first … last − 1, at most kMaxDirections of them.
void DppLazyBlocks::apply(std::size_t b, const Directions& directions, std::size_t first, std::size_t last,
                          float* rho) {
    const std::size_t dim = problem_.dim();
    const std::span<const SlotAt> slots = std::span(slots_at_).subspan(b * most_slots_, n_slots_[b]);
    float start[kMaxDirections * kBlockItems];
    if (!slots.empty()) std::fill_n(start, (last - first) * kBlockItems, 0.0f);
    for (std::size_t s = first; s < last; ++s) {
        const std::span<const float> offsets = directions.offsets_of(s);
        float* to = start + (s - first) * kBlockItems;
        for (const auto [slot, at] : slots) {
            if (slot >= offsets.size()) break;
            to[at] += offsets[slot];
        }
    }
    kernels().downdate_rho(features_.block(b), dim, directions.values.data() + first * dim, last - first,
                           slots.empty() ? nullptr : start, rho);
}

double DppLazyBlocks::largest(std::size_t b, const float* rho, double* gains) const noexcept {
    const std::size_t first = b * kBlockItems;
    return kernels().gains(&q2_[first], rho, &least_rho_[first], gains);
}

void DppLazyBlocks::catch_up(std::size_t b, double best_gain) {
    Block& block = blocks_[b];
    float* rho = &rho_[b * kBlockItems];
    double gains[kBlockItems];
    while (block.stale || block.seen < permanent_.count) {
        if (block.seen < permanent_.count) {
            const std::size_t next = std::min(permanent_.count, block.seen + kMaxDirections);
            apply(b, permanent_, block.seen, next, rho);
            followed_ += next - block.seen;
            block.seen = next;
        }
        bounds_[b] = std::min(largest(b, rho, gains), most_q2_[b] * most_rho_);
        block.stale = false;
        if (bounds_[b] < best_gain) return;
    }
}

double DppLazyBlocks::with_passing(std::size_t b, double best_gain, double* gains) {
    float rho[kBlockItems];
    std::copy_n(&rho_[b * kBlockItems], kBlockItems, rho);
    double most = bounds_[b];
    for (std::size_t first = 0; first < passing_.count && most >= best_gain; first += kMaxDirections) {
        apply(b, passing_, first, std::min(passing_.count, first + kMaxDirections), rho);
        most = largest(b, rho, gains);
    }
    return most;
}

// Updates block b until it is up to date or cannot win, and replaces `best` if the block's best item wins.
void DppLazyBlocks::look_into(std::size_t b, DppPick& best) {
    catch_up(b, best.gain);
    if (bounds_[b] < best.gain || bounds_[b] == 0.0) return;
    double gains[kBlockItems];
    const double most =
        passing_.count > 0 ? with_passing(b, best.gain, gains) : largest(b, &rho_[b * kBlockItems], gains);
    if (most < best.gain || most == 0.0) return;
    for (std::size_t i = 0; i < kBlockItems; ++i) {
        if (gains[i] != most) continue;
        const std::size_t item = features_.item(b * kBlockItems + i);
        if (most > best.gain || item < best.item) best = {most, item};
    }
}

DppPick DppLazyBlocks::best() {
    DppPick best;
    if (bounds_.empty()) return best;
    // The block of the largest bound first: its best gain rules out the most other blocks.
    const std::size_t likeliest = first_of_largest(bounds_);
    look_into(likeliest, best);
    for (std::size_t b = 0; b < bounds_.size(); ++b) {
        if (b != likeliest && bounds_[b] >= best.gain && bounds_[b] > 0.0) look_into(b, best);
    }
    return best;
}

void DppLazyBlocks::remove(std::size_t item) {
    q2_[place_[item]] = 0.0;
    blocks_[place_[item] / kBlockItems].stale = true;
}

void DppLazyBlocks::restore(std::size_t item) {
    const std::size_t b = place_[item] / kBlockItems;
    q2_[place_[item]] = problem_.q2[item];
    blocks_[b].stale = true;
    bounds_[b] = std::numeric_limits<double>::infinity();
}

}  // namespace karec
