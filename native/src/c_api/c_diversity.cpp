// The C interface of the selections, and of scatter.
#include <optional>
#include <vector>

#include "c_api/arguments.hpp"
#include "karec/dpp.hpp"
#include "karec/mmr_ssd.hpp"
#include "karec/scatter.hpp"

namespace karec::c {
namespace {

std::optional<std::size_t> to_optional(std::size_t value) noexcept {
    return value == 0 ? std::nullopt : std::optional(value);
}

void check_k(std::size_t k) {
    if (k == 0) refuse("k must be positive, got 0");
}

karec_dpp_count to_c_count(const DppCount& count) noexcept {
    return {0, count.selected, count.n_dpp, count.log_det};
}

// What was shown. Empty for works of 0 dimensions: such rows need no memory, so that a caller could claim any number of
// them, and a loop over them would not end.
MatrixView to_shown(const std::optional<Matrix>& seen, const Matrix& items) noexcept {
    if (!seen || (seen->view.cols == 0 && items.view.cols == 0)) return {};
    return seen->view;
}

// n_facets · n, where memory can have so many.
std::size_t count_codes(std::size_t n_facets, std::size_t n, const char* name) {
    std::size_t total = 0;
    if (__builtin_mul_overflow(n_facets, n, &total)) refuse(std::string(name) + " has more entries than memory has");
    return total;
}

// The facets of `given`, for n items and options.shown, which is set before.
template <class Given, class Options>
void read_facets(const Given& given, std::size_t n, Options& options) {
    const std::size_t n_facets = given.n_facets;
    options.facet_weights = to_span(given.facet_weights, n_facets, "options->facet_weights");
    options.facets = to_span(given.facets, count_codes(n_facets, n, "options->facets"), "options->facets");
    if (given.shown_facets == nullptr) return;
    const std::size_t n_codes = count_codes(n_facets, options.shown.rows, "options->shown_facets");
    options.shown_facets = to_span(given.shown_facets, n_codes, "options->shown_facets");
}

using Marginal = Result<std::size_t> (*)(MatrixView, std::span<const float>, const MmrSsdOptions&,
                                         std::span<std::int64_t>, std::span<double>) noexcept;

// `shown_name` names given.shown in messages.
karec_status select(Marginal choose, const karec_matrix* embeddings, const float* relevance, std::size_t n,
                    const karec_mmr_ssd_options* options, const char* shown_name, std::int64_t* indices, double* scores,
                    std::size_t k, std::size_t* selected) {
    return catch_errors([&] {
        check_k(k);
        const Matrix items(embeddings, "embeddings");
        const auto values = to_span(relevance, n, "relevance");
        const karec_mmr_ssd_options given = read_struct(options, "options");
        std::optional<Matrix> seen;
        if (given.shown != nullptr) seen.emplace(given.shown, shown_name);
        MmrSsdOptions marginal;
        marginal.diversity = given.diversity;
        marginal.window = to_optional(given.window);
        marginal.shown = to_shown(seen, items);
        read_facets(given, n, marginal);
        const auto places = to_span(indices, k, "indices");
        require(selected, "selected");
        auto count = choose(items.view, values, marginal, places, to_span(scores, k, "scores"));
        if (count.ok()) *selected = count.value();
        return count.status();
    });
}

karec_mmr_ssd_options by_vectors(double diversity, const karec_matrix* shown, std::size_t window) noexcept {
    karec_mmr_ssd_options options = KAREC_MMR_SSD_OPTIONS_INIT;
    options.diversity = diversity;
    options.shown = shown;
    options.window = window;
    return options;
}

}  // namespace
}  // namespace karec::c

using namespace karec;
using namespace karec::c;

double karec_dpp_alpha(double diversity) {
    return dpp_alpha(diversity);
}

karec_status karec_dpp_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                              const karec_dpp_options* options, int64_t* indices, double* gains, size_t k,
                              karec_dpp_count* count) {
    return catch_errors([&] {
        check_k(k);
        const Matrix items(embeddings, "embeddings");
        const auto values = to_span(relevance, n, "relevance");
        const karec_dpp_options given = read_struct(options, "options");
        std::optional<Matrix> seen;
        if (given.shown != nullptr) seen.emplace(given.shown, "options->shown");
        DppOptions dpp;
        dpp.alpha = given.alpha;
        dpp.ridge = given.ridge;
        dpp.type_weight = given.type_weight;
        if (given.weights != nullptr) dpp.weights = to_span(given.weights, n, "options->weights");
        if (given.types != nullptr) dpp.types = to_span(given.types, n, "options->types");
        dpp.shown = to_shown(seen, items);
        dpp.window = to_optional(given.window);
        dpp.max_per_type = to_optional(given.max_per_type);
        dpp.min_per_type = given.min_per_type;
        read_facets(given, n, dpp);
        dpp.fill = given.fill != 0 ? DppFill::relevance : DppFill::none;
        const auto places = to_span(indices, k, "indices");
        check_size(count, "count");
        auto counted = dpp_select(items.view, values, dpp, places, to_span(gains, k, "gains"));
        if (counted.ok()) write_struct(count, to_c_count(counted.value()));
        return counted.status();
    });
}

karec_status karec_dpp_select_kernel(const double* kernel, size_t n, size_t row_stride, size_t window, int64_t* indices,
                                     double* gains, size_t k, karec_dpp_count* count) {
    return catch_errors([&] {
        check_k(k);
        std::size_t row_bytes = 0;
        std::size_t total = 0;
        const bool fits = !__builtin_mul_overflow(n, sizeof(double), &row_bytes) &&
                          !__builtin_mul_overflow(n, std::max(row_stride, row_bytes), &total) && total <= kMaxBytes;
        if (!fits) refuse("kernel has more elements than memory has");
        if (row_stride != 0 && row_stride < row_bytes) refuse("kernel: the stride is shorter than a row");
        if (row_stride % alignof(double) != 0) refuse("kernel: the stride is no multiple of 8 bytes");
        std::span<const double> entries = to_span(kernel, n * n, "kernel");
        ScratchVector<double> together;
        if (row_stride > row_bytes) {
            together.resize(n * n);
            for (std::size_t row = 0; row < n; ++row) {
                std::copy_n(kernel + row * (row_stride / sizeof(double)), n, together.data() + row * n);
            }
            entries = together;
        }
        const auto places = to_span(indices, k, "indices");
        check_size(count, "count");
        auto counted = dpp_select_kernel(entries, n, to_optional(window), places, to_span(gains, k, "gains"));
        if (counted.ok()) write_struct(count, to_c_count(counted.value()));
        return counted.status();
    });
}

karec_status karec_mmr_select(const karec_matrix* embeddings, const float* relevance, size_t n, double diversity,
                              const karec_matrix* shown, size_t window, int64_t* indices, double* scores, size_t k,
                              size_t* selected) {
    const karec_mmr_ssd_options options = by_vectors(diversity, shown, window);
    return select(mmr_select, embeddings, relevance, n, &options, "shown", indices, scores, k, selected);
}

karec_status karec_mmr_select_with(const karec_matrix* embeddings, const float* relevance, size_t n,
                                   const karec_mmr_ssd_options* options, int64_t* indices, double* scores, size_t k,
                                   size_t* selected) {
    return select(mmr_select, embeddings, relevance, n, options, "options->shown", indices, scores, k, selected);
}

karec_status karec_ssd_select(const karec_matrix* embeddings, const float* relevance, size_t n, double diversity,
                              const karec_matrix* shown, size_t window, int64_t* indices, double* scores, size_t k,
                              size_t* selected) {
    const karec_mmr_ssd_options options = by_vectors(diversity, shown, window);
    return select(ssd_select, embeddings, relevance, n, &options, "shown", indices, scores, k, selected);
}

karec_status karec_ssd_select_with(const karec_matrix* embeddings, const float* relevance, size_t n,
                                   const karec_mmr_ssd_options* options, int64_t* indices, double* scores, size_t k,
                                   size_t* selected) {
    return select(ssd_select, embeddings, relevance, n, options, "options->shown", indices, scores, k, selected);
}

karec_status karec_scatter(size_t n, const karec_scatter_rule* rules, size_t n_rules, int64_t* indices, size_t k,
                           karec_scatter_violation* violations, size_t max_violations, size_t* n_violations) {
    return catch_errors([&] {
        std::vector<ScatterRule> each;
        check_struct_count(rules, n_rules, "rules");
        for (std::size_t r = 0; r < n_rules; ++r) {
            const karec_scatter_rule rule = read_nth_struct(rules, r, "rules");
            each.push_back({to_span(rule.values, n, "rules->values"), rule.window, rule.max_count,
                            to_span(rule.shown, rule.n_shown, "rules->shown")});
        }
        check_output_structs(violations, max_violations, "violations");
        require(n_violations, "n_violations");
        std::vector<ScatterViolation> found;
        Status status = scatter(n, each, to_span(indices, k, "indices"), found);
        if (!status.ok()) return status;
        *n_violations = found.size();
        for (std::size_t v = 0; v < std::min(found.size(), max_violations); ++v) {
            write_struct(nth_struct(violations, v), {0, found[v].position, found[v].rule, found[v].count});
        }
        return status;
    });
}
