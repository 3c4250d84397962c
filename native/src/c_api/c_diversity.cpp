// The C interface of the selections.
#include <optional>
#include <vector>

#include "c_api/arguments.hpp"
#include "karec/dpp.hpp"
#include "karec/mmr_ssd.hpp"

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

// Rows shown before. Rows without columns need no memory, so a caller could pass any number of them, and a loop over
// them would not end: they are dropped if the items have no columns either.
MatrixView to_shown(const karec_matrix* given, const MatrixView& items) {
    if (given == nullptr) return {};
    const MatrixView shown = to_matrix(given, "options->shown");
    return shown.cols == 0 && items.cols == 0 ? MatrixView{} : shown;
}

std::size_t count_codes(std::size_t n_facets, std::size_t n, const char* name) {
    std::size_t total = 0;
    if (__builtin_mul_overflow(n_facets, n, &total)) refuse(std::string(name) + " has more entries than memory has");
    return total;
}

// Reads the members that the options of all selections have.
template <class Given, class Options>
void read_common_options(const Given& given, const MatrixView& items, std::size_t n, Options& options) {
    options.shown = to_shown(given.shown, items);
    options.window = to_optional(given.window);
    const std::size_t n_facets = given.n_facets;
    options.facet_weights = to_span(given.facet_weights, n_facets, "options->facet_weights");
    options.facets = to_span(given.facets, count_codes(n_facets, n, "options->facets"), "options->facets");
    if (given.shown_facets == nullptr) return;
    const std::size_t n_codes = count_codes(n_facets, options.shown.rows, "options->shown_facets");
    options.shown_facets = to_span(given.shown_facets, n_codes, "options->shown_facets");
}

using MmrOrSsd = Result<std::size_t> (*)(MatrixView, std::span<const float>, const MmrSsdOptions&,
                                         std::span<std::int64_t>, std::span<double>) noexcept;

karec_status select_mmr_or_ssd(MmrOrSsd select, const karec_matrix* embeddings, const float* relevance, std::size_t n,
                               const karec_mmr_ssd_options* options, std::int64_t* indices, double* scores,
                               std::size_t k, std::size_t* selected) {
    return catch_errors([&] {
        check_k(k);
        const MatrixView items = to_matrix(embeddings, "embeddings");
        const auto values = to_span(relevance, n, "relevance");
        const auto given = read_struct_or<karec_mmr_ssd_options>(KAREC_MMR_SSD_OPTIONS_INIT, options, "options");
        MmrSsdOptions mmr_ssd;
        mmr_ssd.diversity = given.diversity;
        read_common_options(given, items, n, mmr_ssd);
        const auto places = to_span(indices, k, "indices");
        require(selected, "selected");
        const auto count = select(items, values, mmr_ssd, places, to_span(scores, k, "scores"));
        if (count.ok()) *selected = count.value();
        return count.status();
    });
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
        const MatrixView items = to_matrix(embeddings, "embeddings");
        const auto values = to_span(relevance, n, "relevance");
        const auto given = read_struct_or<karec_dpp_options>(KAREC_DPP_OPTIONS_INIT, options, "options");
        DppOptions dpp;
        dpp.alpha = given.alpha;
        dpp.ridge = given.ridge;
        if (given.weights != nullptr) dpp.weights = to_span(given.weights, n, "options->weights");
        if (given.types != nullptr) dpp.types = to_span(given.types, n, "options->types");
        dpp.type_weight = given.type_weight;
        dpp.max_per_type = to_optional(given.max_per_type);
        dpp.min_per_type = given.min_per_type;
        read_common_options(given, items, n, dpp);
        dpp.fill = given.fill != 0 ? DppFill::relevance : DppFill::none;
        const auto places = to_span(indices, k, "indices");
        check_size(count, "count");
        auto counted = dpp_select(items, values, dpp, places, to_span(gains, k, "gains"));
        if (counted.ok()) write_struct(count, to_c_count(counted.value()));
        return counted.status();
    });
}

karec_status karec_dpp_select_kernel(const double* kernel, size_t n, size_t window, int64_t* indices, double* gains,
                                     size_t k, karec_dpp_count* count) {
    return catch_errors([&] {
        check_k(k);
        std::size_t n_entries = 0;
        if (__builtin_mul_overflow(n, n, &n_entries)) refuse("kernel has more entries than memory has");
        const auto entries = to_span(kernel, n_entries, "kernel");
        const auto places = to_span(indices, k, "indices");
        check_size(count, "count");
        const auto counted = dpp_select_kernel(entries, n, to_optional(window), places, to_span(gains, k, "gains"));
        if (counted.ok()) write_struct(count, to_c_count(counted.value()));
        return counted.status();
    });
}

karec_status karec_mmr_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                              const karec_mmr_ssd_options* options, int64_t* indices, double* scores, size_t k,
                              size_t* selected) {
    return select_mmr_or_ssd(mmr_select, embeddings, relevance, n, options, indices, scores, k, selected);
}

karec_status karec_ssd_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                              const karec_mmr_ssd_options* options, int64_t* indices, double* scores, size_t k,
                              size_t* selected) {
    return select_mmr_or_ssd(ssd_select, embeddings, relevance, n, options, indices, scores, k, selected);
}
