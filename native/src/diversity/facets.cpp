#include "diversity/facets.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace karec {
namespace {

constexpr double kMostWeight = 1.0 + 1e-9;  // sums of decimal fractions are rounded

Status check_codes(const char* name, std::size_t given, std::size_t n_facets, std::size_t n) {
    if (n == 0 ? given == 0 : given % n == 0 && given / n == n_facets) return {};
    return Status::invalid(std::string(name) + " has " + std::to_string(given) + " entries, expected " +
                           std::to_string(n_facets) + " × " + std::to_string(n) +
                           ", one for each of facet_weights and row");
}

}  // namespace

void Facets::add(double weight, std::span<const std::int64_t> of_items, std::span<const std::int64_t> of_seen) {
    if (weight == 0.0) return;
    weights.push_back(weight);
    codes.insert(codes.end(), of_items.begin(), of_items.end());
    codes.insert(codes.end(), of_seen.begin(), of_seen.end());
    codes.resize(weights.size() * n_rows);
    of_shown.push_back(!of_seen.empty());
}

void Facets::add_all(std::span<const double> each, std::span<const std::int64_t> facets,
                     std::span<const std::int64_t> shown_facets) {
    const std::size_t n_shown = n_rows - n_items;
    for (std::size_t f = 0; f < each.size(); ++f) {
        add(each[f], facets.subspan(f * n_items, n_items),
            shown_facets.empty() ? shown_facets : shown_facets.subspan(f * n_shown, n_shown));
    }
}

double Facets::total() const noexcept {
    return std::accumulate(weights.begin(), weights.end(), 0.0);
}

double Facets::feature_scale() const noexcept {
    return std::sqrt(std::max(0.0, 1.0 - total()));
}

Status check_facet_codes(std::span<const double> weights, std::span<const std::int64_t> facets,
                         std::span<const std::int64_t> shown_facets, std::size_t n, std::size_t n_shown) {
    if (Status status = check_codes("facets", facets.size(), weights.size(), n); !status.ok()) return status;
    if (shown_facets.empty()) return {};
    return check_codes("shown_facets", shown_facets.size(), weights.size(), n_shown);
}

Status check_facet_weights(std::span<const double> weights, double beside, const char* all) {
    double sum = beside;
    for (std::size_t f = 0; f < weights.size(); ++f) {
        if (!(weights[f] >= 0.0 && weights[f] <= 1.0)) {
            return Status::invalid("facet_weights holds " + std::to_string(weights[f]) + " at position " +
                                   std::to_string(f) + ", expected it in [0, 1]");
        }
        sum += weights[f];
    }
    if (sum <= kMostWeight) return {};
    return Status::invalid(std::string(all) + " sum to " + std::to_string(sum) + ", expected at most 1");
}

}  // namespace karec
