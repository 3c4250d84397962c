#include "diversity/dpp_lazy_blocks.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>

#include "kernels/kernels.hpp"

namespace karec {
namespace {

// Returns items by their first gain, largest first, in one pass of a counting sort. A factor of 2^16 below the largest
// gain has up to 2,048 bins, fewer for few items; smaller gains share the last one. The order decides how early an item
// is compared, not which item wins.
std::vector<std::uint32_t> by_first_gain(const DppProblem& problem) {
    constexpr unsigned kMantissaBits = 52;
    const std::size_t n = problem.n();
    const unsigned bits_per_octave = static_cast<unsigned>(std::clamp<std::size_t>(std::bit_width(n), 7, 11)) - 4;
    const unsigned shift = kMantissaBits - bits_per_octave;
    const std::size_t n_bins = std::size_t{16} << bits_per_octave;
    std::vector<std::uint64_t> keys(n);  // gains are not negative: their order is that of their bits
    for (std::size_t i = 0; i < n; ++i) keys[i] = std::bit_cast<std::uint64_t>(problem.q2[i] * problem.first_rho[i]);
    const std::uint64_t largest = n == 0 ? 0 : *std::ranges::max_element(keys) >> shift;
    std::array<std::uint32_t, 2048> starts;
    std::fill_n(starts.begin(), n_bins, 0u);
    for (std::uint64_t& key : keys) {
        key = std::min<std::uint64_t>(largest - (key >> shift), n_bins - 1);
        ++starts[key];
    }
    std::exclusive_scan(starts.begin(), starts.begin() + static_cast<std::ptrdiff_t>(n_bins), starts.begin(), 0u);
    std::vector<std::uint32_t> order(n);
    for (std::size_t i = 0; i < n; ++i) order[starts[keys[i]]++] = static_cast<std::uint32_t>(i);
    return order;
}

// Four maxima in parallel: a comparison does not wait for the one before.
std::size_t index_of_largest(std::span<const double> values) noexcept {
    double maxima[4] = {values[0], values[0], values[0], values[0]};
    std::size_t i = 0;
    for (; i + 4 <= values.size(); i += 4) {
        for (std::size_t lane = 0; lane < 4; ++lane) maxima[lane] = std::max(maxima[lane], values[i + lane]);
    }
    for (; i < values.size(); ++i) maxima[0] = std::max(maxima[0], values[i]);
    const double largest = std::max({maxima[0], maxima[1], maxima[2], maxima[3]});
    return static_cast<std::size_t>(std::ranges::find(values, largest) - values.begin());
}

}  // namespace

DppLazyBlocks::DppLazyBlocks(const DppProblem& problem)
    : problem_(problem),
      features_(problem.rows, by_first_gain(problem)),
      max_slots_(problem.rows.facets.size() * kBlockItems),
      slot_places_(features_.n_blocks() * max_slots_),
      n_slots_(features_.n_blocks(), 0) {
    const std::size_t n = problem.n();
    const std::size_t n_blocks = features_.n_blocks();
    place_.resize(n);
    q2_.assign(n_blocks * kBlockItems, 0.0);
    rho_.assign(n_blocks * kBlockItems, 0.0f);
    min_rho_.assign(n_blocks * kBlockItems, 0.0f);
    blocks_.resize(n_blocks);
    bounds_.resize(n_blocks);
    max_q2_.resize(n_blocks);
    for (std::size_t at = 0; at < n; ++at) {
        const std::size_t item = features_.item(at);
        place_[item] = static_cast<std::uint32_t>(at);
        q2_[at] = problem.q2[item];
        rho_[at] = static_cast<float>(problem.first_rho[item]);
        min_rho_[at] = static_cast<float>(kMinGainFraction * problem.first_rho[item]);
    }
    double gains[kBlockItems];
    for (std::size_t b = 0; b < n_blocks; ++b) {
        bounds_[b] = largest_gain(b, &rho_[b * kBlockItems], gains);
        blocks_[b].is_stale = false;
        const auto first = q2_.begin() + static_cast<std::ptrdiff_t>(b * kBlockItems);
        max_q2_[b] = *std::max_element(first, first + kBlockItems);
    }
}

// The bound on ρ in float32 includes its rounding error. That of a dot product of vectors of length ≤ 1 is at most
// (dim + 4)·2⁻²⁴, that of each offset as much again, and that of its square and the subtraction 2⁻²⁴·(1 + ridge) for
// each direction. Σ|dot| ≤ √count, since Σ dot² ≤ 1.
void DppLazyBlocks::lower_bounds(double max_variance) {
    n_updates_ = 0;
    const auto count = static_cast<double>(permanent_.count);
    const auto n_terms = static_cast<double>(1 + problem_.rows.facets.size());
    const double dot_error = n_terms * static_cast<double>(problem_.dim() + 4) * 0x1p-24;
    const double error =
        2.0 * std::sqrt(count) * dot_error + count * (dot_error * dot_error + (2.0 + problem_.ridge) * 0x1p-23);
    max_rho_ = problem_.ridge + max_variance + 2.0 * error;
    for (std::size_t b = 0; b < bounds_.size(); ++b) bounds_[b] = std::min(bounds_[b], max_q2_[b] * max_rho_);
}

void DppLazyBlocks::Directions::add(std::span<const float> direction, std::span<const float> slot_offsets) {
    values.insert(values.end(), direction.begin(), direction.end());
    offsets.insert(offsets.end(), slot_offsets.begin(), slot_offsets.end());
    offset_ends.push_back(offsets.size());
    ++count;
}
void DppLazyBlocks::Directions::clear() noexcept {
    values.clear();
    offsets.clear();
    offset_ends.resize(1);
    count = 0;
}

void DppLazyBlocks::add_permanent(std::span<const float> direction, std::span<const float> offsets) {
    permanent_.add(direction, offsets);
}
void DppLazyBlocks::add_window(std::span<const float> direction, std::span<const float> offsets) {
    window_.add(direction, offsets);
}

void DppLazyBlocks::add_slot_rows(std::span<const SlotRow> rows) {
    for (const auto [row, slot] : rows) {
        if (row >= place_.size()) continue;
        const std::size_t b = place_[row] / kBlockItems;
        slot_places_[b * max_slots_ + n_slots_[b]++] = {slot, static_cast<std::uint32_t>(place_[row] % kBlockItems)};
    }
}

// Subtracts from ρ the parts along directions first … last − 1, at most kMaxDirections.
void DppLazyBlocks::apply(std::size_t b, const Directions& directions, std::size_t first, std::size_t last,
                          float* rho) {
    const std::size_t dim = problem_.dim();
    const std::span<const SlotPlace> slots = std::span(slot_places_).subspan(b * max_slots_, n_slots_[b]);
    float start[kMaxDirections * kBlockItems];
    if (!slots.empty()) std::fill_n(start, (last - first) * kBlockItems, 0.0f);
    for (std::size_t s = first; s < last; ++s) {
        const std::span<const float> offsets = directions.offsets_of(s);
        float* sums = start + (s - first) * kBlockItems;
        for (const auto [slot, place] : slots) {
            if (slot >= offsets.size()) break;
            sums[place] += offsets[slot];
        }
    }
    kernels().downdate_rho(features_.block(b), dim, directions.values.data() + first * dim, last - first,
                           slots.empty() ? nullptr : start, rho);
}

double DppLazyBlocks::largest_gain(std::size_t b, const float* rho, double* gains) const noexcept {
    const std::size_t first = b * kBlockItems;
    return kernels().gains(&q2_[first], rho, &min_rho_[first], gains);
}

void DppLazyBlocks::update(std::size_t b, double best_gain) {
    Block& block = blocks_[b];
    float* rho = &rho_[b * kBlockItems];
    double gains[kBlockItems];
    while (block.is_stale || block.n_applied < permanent_.count) {
        if (block.n_applied < permanent_.count) {
            const std::size_t next = std::min(permanent_.count, block.n_applied + kMaxDirections);
            apply(b, permanent_, block.n_applied, next, rho);
            n_updates_ += next - block.n_applied;
            block.n_applied = next;
        }
        bounds_[b] = std::min(largest_gain(b, rho, gains), max_q2_[b] * max_rho_);
        block.is_stale = false;
        if (bounds_[b] < best_gain) return;
    }
}

double DppLazyBlocks::apply_window(std::size_t b, double best_gain, double* gains) {
    float rho[kBlockItems];
    std::copy_n(&rho_[b * kBlockItems], kBlockItems, rho);
    double largest = bounds_[b];
    for (std::size_t first = 0; first < window_.count && largest >= best_gain; first += kMaxDirections) {
        apply(b, window_, first, std::min(window_.count, first + kMaxDirections), rho);
        largest = largest_gain(b, rho, gains);
    }
    return largest;
}

// Updates block b until it is up to date or cannot win, and replaces `best` if the block's best item wins.
void DppLazyBlocks::compare(std::size_t b, DppPick& best) {
    update(b, best.gain);
    if (bounds_[b] < best.gain || bounds_[b] == 0.0) return;
    double gains[kBlockItems];
    const double largest =
        window_.count > 0 ? apply_window(b, best.gain, gains) : largest_gain(b, &rho_[b * kBlockItems], gains);
    if (largest < best.gain || largest == 0.0) return;
    for (std::size_t i = 0; i < kBlockItems; ++i) {
        if (gains[i] != largest) continue;
        const std::size_t item = features_.item(b * kBlockItems + i);
        if (largest > best.gain || item < best.item) best = {largest, item};
    }
}

DppPick DppLazyBlocks::best() {
    DppPick best;
    if (bounds_.empty()) return best;
    // The block with the largest bound is first: its best gain rules out the most other blocks.
    const std::size_t likely_block = index_of_largest(bounds_);
    compare(likely_block, best);
    for (std::size_t b = 0; b < bounds_.size(); ++b) {
        if (b != likely_block && bounds_[b] >= best.gain && bounds_[b] > 0.0) compare(b, best);
    }
    return best;
}

void DppLazyBlocks::remove(std::size_t item) {
    q2_[place_[item]] = 0.0;
    blocks_[place_[item] / kBlockItems].is_stale = true;
}

void DppLazyBlocks::restore(std::size_t item) {
    const std::size_t b = place_[item] / kBlockItems;
    q2_[place_[item]] = problem_.q2[item];
    blocks_[b].is_stale = true;
    bounds_[b] = std::numeric_limits<double>::infinity();
}

}  // namespace karec
