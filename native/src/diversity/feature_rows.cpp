#include "diversity/feature_rows.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "base/checks.hpp"
#include "index/row_format.hpp"
#include "karec/item_index.hpp"
#include "kernels/kernels.hpp"

namespace karec {
namespace {

constexpr double kMaxFacetWeight = 1.0 + 1e-9;  // sums of decimal fractions are rounded

std::string shape_text(const VectorRows& rows) {
    return "(" + std::to_string(rows.rows) + ", " + std::to_string(rows.cols) + ")";
}

Status check_codes(const char* name, std::size_t n_codes, std::size_t n_facets, std::size_t n_rows) {
    if (n_rows == 0 ? n_codes == 0 : n_codes % n_rows == 0 && n_codes / n_rows == n_facets) return {};
    return Status::invalid(std::string(name) + " has " + std::to_string(n_codes) + " entries, expected " +
                           std::to_string(n_facets) + " × " + std::to_string(n_rows) +
                           ", one for each of facet_weights and row");
}

Status check_facets(const SelectionOptions& options, std::span<const double> weights, double type_weight,
                    std::size_t n_items) {
    Status status = check_codes("facets", options.facets.size(), weights.size(), n_items);
    if (status.ok() && !options.shown_facets.empty()) {
        status = check_codes("shown_facets", options.shown_facets.size(), weights.size(), options.shown.rows);
    }
    if (!status.ok()) return status;
    double sum = type_weight;
    for (std::size_t f = 0; f < weights.size(); ++f) {
        if (!(weights[f] >= 0.0 && weights[f] <= 1.0)) {
            return Status::invalid("facet_weights holds " + std::to_string(weights[f]) + " at position " +
                                   std::to_string(f) + ", expected it in [0, 1]");
        }
        sum += weights[f];
    }
    if (sum <= kMaxFacetWeight) return {};
    const char* names = type_weight > 0.0 ? "type_weight and facet_weights" : "facet_weights";
    return Status::invalid(std::string(names) + " sum to " + std::to_string(sum) + ", expected at most 1");
}

void add_facet(double weight, std::span<const std::int64_t> item_codes, std::span<const std::int64_t> shown_codes,
               Facets& facets) {
    if (weight == 0.0) return;
    facets.weights.push_back(weight);
    facets.codes.insert(facets.codes.end(), item_codes.begin(), item_codes.end());
    facets.codes.insert(facets.codes.end(), shown_codes.begin(), shown_codes.end());
    facets.codes.resize(facets.weights.size() * facets.n_rows);
    facets.has_shown.push_back(!shown_codes.empty());
}

// ‖row‖² of each item. Refuses NaN and infinity.
Result<std::vector<double>> finite_squared_norms(const VectorRows& items) {
    const MatrixView matrix{items.first, items.rows, items.cols, items.dtype};
    const bool is_checked = !items.addresses.empty();    // an index holds finite vectors only
    if (!is_checked && items.dtype == DType::float16) {  // squared_norms_float16 takes finite rows only
        if (Status status = check_finite(matrix, "embeddings"); !status.ok()) return status;
    }
    constexpr std::size_t kRowsAtOnce = 256;
    std::vector<double> norms(items.rows);
    std::vector<float> scratch(items.dtype == DType::int8 ? kRowsAtOnce * items.cols : 0);
    const Kernels& loops = kernels();
    for (std::size_t begin = 0; begin < items.rows; begin += kRowsAtOnce) {
        const std::size_t n = std::min(kRowsAtOnce, items.rows - begin);
        const void* addresses[kRowsAtOnce];
        for (std::size_t i = 0; i < n; ++i) {
            addresses[i] = items.dtype == DType::int8 ? items.floats(begin + i, &scratch[i * items.cols])
                                                      : static_cast<const void*>(items.at(begin + i));
        }
        const auto squared_norms =
            items.dtype == DType::float16 ? loops.squared_norms_float16 : loops.squared_norms_float32;
        squared_norms(addresses, n, items.cols, &norms[begin]);
    }
    // Squares of floats do not overflow float64: a norm is finite exactly if its row is.
    if (!is_checked && !std::all_of(norms.begin(), norms.end(), [](double x) { return std::isfinite(x); })) {
        return check_finite(matrix, "embeddings");
    }
    return norms;
}

}  // namespace

const float* VectorRows::floats(std::size_t row, float* scratch) const noexcept {
    if (dtype == DType::float32) return reinterpret_cast<const float*>(at(row));
    RowFormat{cols, dtype}.decode(at(row), scales[row], scratch);
    return scratch;
}

void VectorRows::scale_row(std::size_t row, double factor, std::span<double> out) const {
    if (dtype == DType::float16) {
        constexpr std::size_t kValuesAtOnce = 64;
        const auto* halves = reinterpret_cast<const std::uint16_t*>(at(row));
        float values[kValuesAtOnce];
        for (std::size_t begin = 0; begin < cols; begin += kValuesAtOnce) {
            const std::size_t n = std::min(kValuesAtOnce, cols - begin);
            kernels().widen(halves + begin, n, values);
            for (std::size_t d = 0; d < n; ++d) out[begin + d] = factor * static_cast<double>(values[d]);
        }
        return;
    }
    std::vector<float> scratch(dtype == DType::int8 ? cols : 0);
    const float* values = floats(row, scratch.data());
    for (std::size_t d = 0; d < cols; ++d) out[d] = factor * static_cast<double>(values[d]);
}

double length_factor(double squared_norm, double length) noexcept {
    return squared_norm > 0.0 ? length / std::sqrt(squared_norm) : 0.0;
}

Status check_item_column(const char* name, std::size_t length, const VectorRows& items) {
    if (length == items.rows) return {};
    return Status::invalid(std::string(name) + " has shape (" + std::to_string(length) + ",), expected (" +
                           std::to_string(items.rows) + ",) as embeddings has shape " + shape_text(items));
}

Result<FeatureRows> FeatureRows::make(const VectorRows& items, const SelectionOptions& options, double type_weight,
                                      std::span<const std::int64_t> types) {
    if (Status status = check_isa(); !status.ok()) return status;
    if (options.window && *options.window == 0) return Status::invalid("window must be ≥ 1, got 0");
    if (options.shown.rows > 0 && options.shown.cols != items.cols) {
        return Status::invalid("shown has shape " + shape_text(options.shown) + ", expected (M, " +
                               std::to_string(items.cols) + ") as embeddings has shape " + shape_text(items));
    }
    // A copy: the weights that are checked are the weights that are used.
    const std::vector<double> weights(options.facet_weights.begin(), options.facet_weights.end());
    if (Status status = check_facets(options, weights, type_weight, items.rows); !status.ok()) return status;
    MatrixView shown = options.shown;
    // Shown rows without dimensions and facets change no result and need no memory: their number has no bound.
    if (items.cols == 0 && options.shown_facets.empty()) shown.rows = 0;
    if (Status status = check_finite(shown, "shown"); !status.ok()) return status;
    auto norms = finite_squared_norms(items);
    if (!norms.ok()) return norms.status();
    FeatureRows rows;
    rows.items = items;
    rows.shown = shown;
    rows.squared_norms = std::move(norms.value());
    Facets& facets = rows.facets;
    facets.n_rows = rows.n_rows();
    add_facet(type_weight, types, {}, facets);
    for (std::size_t f = 0; f < weights.size(); ++f) {
        std::span<const std::int64_t> shown_codes = options.shown_facets;
        if (!shown_codes.empty()) shown_codes = shown_codes.subspan(f * shown.rows, shown.rows);
        add_facet(weights[f], options.facets.subspan(f * items.rows, items.rows), shown_codes, facets);
    }
    rows.facet_weight = std::accumulate(facets.weights.begin(), facets.weights.end(), 0.0);
    rows.vector_length = std::sqrt(std::max(0.0, 1.0 - rows.facet_weight));
    return rows;
}

void FeatureRows::write_vector(std::size_t row, std::span<double> out) const {
    if (row < items.rows) {
        items.scale_row(row, length_factor(squared_norms[row], vector_length), out);
        return;
    }
    shown.scale_row(row - items.rows, 1.0, out);
    double squared_norm = 0.0;
    for (const double x : out) squared_norm += x * x;
    const double factor = length_factor(squared_norm, vector_length);
    for (double& x : out) x *= factor;
}

}  // namespace karec
