// Facets of items and of what was shown: codes, of which equal ones make two rows alike by the facet's weight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "karec/status.hpp"

namespace karec {

// The facets that count: those with a weight above 0.
struct Facets {
    std::vector<double> weights;      // (F,) > 0
    std::vector<std::int64_t> codes;  // (F, rows): of the items, then of what was shown, whatever where it has none
    std::vector<bool> of_shown;       // whether what was shown has values of the facet
    std::size_t n_items = 0;
    std::size_t n_rows = 0;

    Facets() = default;
    Facets(std::size_t n, std::size_t n_shown) : n_items(n), n_rows(n + n_shown) {}

    // One more facet, the last, where its weight counts: codes (N,), and (M,) of what was shown, empty = it has none.
    void add(double weight, std::span<const std::int64_t> of_items, std::span<const std::int64_t> of_seen);
    // Of weights (F,), facets (F, N) and shown_facets (F, M) or empty, all checked.
    void add_all(std::span<const double> each, std::span<const std::int64_t> facets,
                 std::span<const std::int64_t> shown_facets);

    std::size_t size() const noexcept { return weights.size(); }
    std::int64_t code(std::size_t facet, std::size_t row) const noexcept { return codes[facet * n_rows + row]; }
    double total() const noexcept;          // Σ w_f
    double feature_scale() const noexcept;  // √(1 − Σ w_f)
};

// Refuses codes that are not (F, N), or (F, M) where there are any of what was shown.
Status check_facet_codes(std::span<const double> weights, std::span<const std::int64_t> facets,
                         std::span<const std::int64_t> shown_facets, std::size_t n, std::size_t n_shown);

// Refuses weights outside [0, 1], and those that sum with `beside` to more than 1; `all` names them in the message.
Status check_facet_weights(std::span<const double> weights, double beside, const char* all);

}  // namespace karec
