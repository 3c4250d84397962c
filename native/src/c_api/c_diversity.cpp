// The C interface of the selections, and of scatter.
#include <optional>
#include <vector>

#include "c_api/arguments.hpp"
#include "karec/dpp.hpp"
#include "karec/mmr_ssd.hpp"
#include "karec/scatter.hpp"

namespace karec::c {
namespace {

std::optional<std::size_t> unless_0(std::size_t value) noexcept {
    return value == 0 ? std::nullopt : std::optional(value);
}

void check_k(std::size_t k) {
    if (k == 0) refuse("k must be positive, got 0");
}

karec_dpp_count count_of(const DppCount& count) noexcept {
    return {0, count.selected, count.n_dpp, count.log_det};
}

// What was shown. Empty for works of 0 dimensions: such rows need no memory, so that a caller could claim any number of
// them, and a loop over them would not end.
MatrixView shown_of(const std::optional<Matrix>& seen, const Matrix& items) noexcept {
    if (!seen || (seen->view.cols == 0 && items.view.cols == 0)) return {};
    return seen->view;
}

// n_facets · n, where memory can have so many.
std::size_t codes(std::size_t n_facets, std::size_t n, const char* name) {
    std::size_t total = 0;
    if (__builtin_mul_overflow(n_facets, n, &total)) refuse(std::string(name) + " has more entries than memory has");
    return total;
}

// The facets of `given`, for n items and options.shown, which is set before.
template <class Given, class Options>
void take_facets(const Given& given, std::size_t n, Options& options) {
    const std::size_t n_facets = given.n_facets;
    options.facet_weights = array(given.facet_weights, n_facets, "options->facet_weights");
    options.facets = array(given.facets, codes(n_facets, n, "options->facets"), "options->facets");
    if (given.shown_facets == nullptr) return;
    const std::size_t n_codes = codes(n_facets, options.shown.rows, "options->shown_facets");
    options.shown_facets = array(given.shown_facets, n_codes, "options->shown_facets");
}

using Marginal = Result<std::size_t> (*)(MatrixView, std::span<const float>, const MmrSsdOptions&,
                                         std::span<std::int64_t>, std::span<double>) noexcept;

// `shown_name` names given.shown in messages.
karec_status select(Marginal choose, const karec_matrix* embeddings, const float* relevance, std::size_t n,
                    const karec_mmr_ssd_options* options, const char* shown_name, std::int64_t* indices, double* scores,
                    std::size_t k, std::size_t* selected) {
    return answer([&] {
        check_k(k);
        const Matrix items(embeddings, "embeddings");
        const auto values = array(relevance, n, "relevance");
        const karec_mmr_ssd_options given = taken(options, "options");
        std::optional<Matrix> seen;
        if (given.shown != nullptr) seen.emplace(given.shown, shown_name);
        MmrSsdOptions marginal;
        marginal.diversity = given.diversity;
        marginal.window = unless_0(given.window);
        marginal.shown = shown_of(seen, items);
        take_facets(given, n, marginal);
        const auto places = array(indices, k, "indices");
        object(selected, "selected");
        auto count = choose(items.view, values, marginal, places, array(scores, k, "scores"));
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
    return answer([&] {
        check_k(k);
        const Matrix items(embeddings, "embeddings");
        const auto values = array(relevance, n, "relevance");
        const karec_dpp_options given = taken(options, "options");
        std::optional<Matrix> seen;
        if (given.shown != nullptr) seen.emplace(given.shown, "options->shown");
        DppOptions dpp;
        dpp.alpha = given.alpha;
        dpp.ridge = given.ridge;
        dpp.type_weight = given.type_weight;
        if (given.weights != nullptr) dpp.weights = array(given.weights, n, "options->weights");
        if (given.types != nullptr) dpp.types = array(given.types, n, "options->types");
        dpp.shown = shown_of(seen, items);
        dpp.window = unless_0(given.window);
        dpp.max_per_type = unless_0(given.max_per_type);
        dpp.min_per_type = given.min_per_type;
        take_facets(given, n, dpp);
        dpp.fill = given.fill != 0 ? DppFill::relevance : DppFill::none;
        const auto places = array(indices, k, "indices");
        check_size(count, "count");
        auto counted = dpp_select(items.view, values, dpp, places, array(gains, k, "gains"));
        if (counted.ok()) give(count, count_of(counted.value()));
        return counted.status();
    });
}

karec_status karec_dpp_select_kernel(const double* kernel, size_t n, size_t row_stride, size_t window, int64_t* indices,
                                     double* gains, size_t k, karec_dpp_count* count) {
    return answer([&] {
        check_k(k);
        std::size_t row_bytes = 0;
        std::size_t total = 0;
        const bool fits = !__builtin_mul_overflow(n, sizeof(double), &row_bytes) &&
                          !__builtin_mul_overflow(n, std::max(row_stride, row_bytes), &total) && total <= kMostBytes;
        if (!fits) refuse("kernel has more elements than memory has");
        if (row_stride != 0 && row_stride < row_bytes) refuse("kernel: the stride is shorter than a row");
        if (row_stride % alignof(double) != 0) refuse("kernel: the stride is no multiple of 8 bytes");
        std::span<const double> entries = array(kernel, n * n, "kernel");
        ScratchVector<double> together;
        if (row_stride > row_bytes) {
            together.resize(n * n);
            for (std::size_t row = 0; row < n; ++row) {
                std::copy_n(kernel + row * (row_stride / sizeof(double)), n, together.data() + row * n);
            }
            entries = together;
        }
        const auto places = array(indices, k, "indices");
        check_size(count, "count");
        auto counted = dpp_select_kernel(entries, n, unless_0(window), places, array(gains, k, "gains"));
        if (counted.ok()) give(count, count_of(counted.value()));
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
    return answer([&] {
        std::vector<ScatterRule> each;
        check_count(rules, n_rules, "rules");
        for (std::size_t r = 0; r < n_rules; ++r) {
            const karec_scatter_rule rule = taken_nth(rules, r, "rules");
            each.push_back({array(rule.values, n, "rules->values"), rule.window, rule.max_count,
                            array(rule.shown, rule.n_shown, "rules->shown")});
        }
        check_written(violations, max_violations, "violations");
        object(n_violations, "n_violations");
        std::vector<ScatterViolation> found;
        Status status = scatter(n, each, array(indices, k, "indices"), found);
        if (!status.ok()) return status;
        *n_violations = found.size();
        for (std::size_t v = 0; v < std::min(found.size(), max_violations); ++v) {
            give(nth(violations, v), {0, found[v].position, found[v].rule, found[v].count});
        }
        return status;
    });
}
