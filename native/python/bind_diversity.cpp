// DPP, MMR, SSD and arrange for Python: check, release the GIL, call.
#include <pybind11/stl.h>

#include <algorithm>
#include <tuple>

#include "arrays.hpp"
#include "bindings.hpp"
#include "diversity/vector_map.hpp"
#include "karec/arrange.hpp"
#include "karec/dpp.hpp"
#include "karec/item_index.hpp"
#include "karec/mmr_ssd.hpp"
#include "reading.hpp"

namespace karec::python {
namespace {

std::optional<std::size_t> positive_or_none(std::optional<py::ssize_t> value, const char* name) {
    if (!value) return std::nullopt;
    return positive(*value, name);
}

// The value of a key that the Python caller always gives.
py::handle entry(const py::dict& options, const char* name) {
    PyObject* const value = PyDict_GetItemString(options.ptr(), name);
    if (value == nullptr) throw py::key_error(name);
    return value;
}

template <class T>
T option(const py::dict& options, const char* name) {
    return cast_argument<T>(entry(options, name), name);
}

py::ssize_t smaller(std::size_t k, py::ssize_t n) {
    return std::min(static_cast<py::ssize_t>(k), n);
}

// Relevance and SelectionOptions of N items. Their arrays stay alive while the library reads them.
struct SelectionInput {
    // `reason` explains the expected shapes in messages.
    SelectionInput(py::ssize_t n, py::ssize_t dim, const Reason& reason, py::handle relevance, const py::dict& options,
                   SelectionOptions& selection)
        : relevance_input(float32_input(relevance, "relevance", {n}, reason)),
          weights(option<std::vector<double>>(options, "facet_weights")) {
        selection.window = positive_or_none(option<std::optional<py::ssize_t>>(options, "window"), "window");
        if (!entry(options, "shown").is_none()) {
            shown = matrix_input(entry(options, "shown"), "shown", {"M", dim}, reason);
            selection.shown = shown.view;
        }
        const auto n_facets = static_cast<py::ssize_t>(weights.size());
        selection.facet_weights = weights;
        if (!entry(options, "facets").is_none()) {
            facets = int64_input(entry(options, "facets"), "facets", {n_facets, n}, reason);
            selection.facets = facets.span();
        }
        if (entry(options, "shown_facets").is_none()) return;
        const auto n_shown = static_cast<py::ssize_t>(selection.shown.rows);
        shown_facets = int64_input(entry(options, "shown_facets"), "shown_facets", {n_facets, n_shown},
                                   "there are " + std::to_string(n_facets) + " facet_weights and " +
                                       std::to_string(n_shown) + " rows of shown");
        selection.shown_facets = shown_facets.span();
    }

    std::span<const float> relevance() const { return relevance_input.span(); }

    Input<float> relevance_input;
    std::vector<double> weights;
    Input<std::int64_t> facets;
    Input<std::int64_t> shown_facets;
    MatrixInput shown;
};

DppOptions read_numbers(const py::dict& given) {
    DppOptions options;
    options.alpha = option<double>(given, "alpha");
    options.ridge = option<double>(given, "ridge");
    options.type_weight = option<double>(given, "type_weight");
    options.max_per_type = positive_or_none(option<std::optional<py::ssize_t>>(given, "max_per_type"), "max_per_type");
    const auto min_per_type = option<py::ssize_t>(given, "min_per_type");
    if (min_per_type < 0) throw py::value_error("min_per_type must be ≥ 0, got " + std::to_string(min_per_type));
    options.min_per_type = static_cast<std::size_t>(min_per_type);
    options.fill = option<bool>(given, "fill") ? DppFill::relevance : DppFill::none;
    return options;
}

struct DppInput {
    DppInput(py::ssize_t n, py::ssize_t dim, const Reason& reason, py::handle relevance, const py::dict& given)
        : options(read_numbers(given)), selection(n, dim, reason, relevance, given, options) {
        if (!entry(given, "weights").is_none()) {
            weights = float32_input(entry(given, "weights"), "weights", {n}, reason);
            options.weights = weights.span();
        }
        if (!entry(given, "types").is_none()) {
            types = int64_input(entry(given, "types"), "types", {n}, reason);
            options.types = types.span();
        }
    }

    DppOptions options;
    SelectionInput selection;
    Input<float> weights;
    Input<std::int64_t> types;
};

template <class Select>
py::tuple to_dpp_result(std::size_t k, py::ssize_t n, const Select& select) {
    Output<std::int64_t> indices({smaller(k, n)});
    Output<double> gains({smaller(k, n)});
    const auto index_span = indices.span();
    const auto gain_span = gains.span();
    const auto count = [&] {
        const py::gil_scoped_release release;
        return select(index_span, gain_span);
    }();
    raise_unless_ok(count.status());
    if (count->selected == index_span.size()) {
        return py::make_tuple(indices.array, gains.array, count->log_det, count->n_dpp);
    }
    const py::slice selected(0, static_cast<py::ssize_t>(count->selected), 1);
    return py::make_tuple(indices.array[selected], gains.array[selected], count->log_det, count->n_dpp);
}

py::tuple bind_dpp_select(py::handle embeddings, py::handle relevance, py::ssize_t k, const py::kwargs& options) {
    const std::size_t max_picks = positive(k, "k");
    const auto items = matrix_input(embeddings, "embeddings", {"N", "D"});
    const py::ssize_t n = items.array.shape(0);
    const DppInput input(n, items.array.shape(1), {"embeddings", items.array}, relevance, options);
    return to_dpp_result(max_picks, n, [&](auto indices, auto gains) {
        return dpp_select(items.view, input.selection.relevance(), input.options, indices, gains);
    });
}

py::tuple bind_dpp_select_rows(const IndexView& view, py::handle rows, py::handle relevance, py::ssize_t k,
                               const py::kwargs& options) {
    const std::size_t max_picks = positive(k, "k");
    const auto items = rows_input(rows);
    const py::ssize_t n = items.shape(0);
    const DppInput input(n, static_cast<py::ssize_t>(view.dim()), {"rows", items.array}, relevance, options);
    return to_dpp_result(max_picks, n, [&](auto indices, auto gains) {
        return view.dpp_select(items.rows(), input.selection.relevance(), input.options, indices, gains);
    });
}

py::tuple bind_dpp_select_kernel(py::handle kernel, py::ssize_t k, std::optional<py::ssize_t> window) {
    const std::size_t max_picks = positive(k, "k");
    const auto native_window = positive_or_none(window, "window");
    const auto entries = float64_input(kernel, "kernel", {"N", "N"});
    const py::ssize_t n = entries.shape(0);
    if (n != entries.shape(1)) {
        throw py::value_error("kernel has shape " + shape_of(entries.array) + ", expected (N, N)");
    }
    return to_dpp_result(max_picks, n, [&](auto indices, auto gains) {
        return dpp_select_kernel(entries.span(), static_cast<std::size_t>(n), native_window, indices, gains);
    });
}

template <auto Select>
py::tuple bind_mmr_ssd_select(py::handle embeddings, py::handle relevance, py::ssize_t k, double diversity,
                              const py::kwargs& given) {
    const std::size_t max_picks = positive(k, "k");
    const auto items = matrix_input(embeddings, "embeddings", {"N", "D"});
    const py::ssize_t n = items.array.shape(0);
    MmrSsdOptions options;
    options.diversity = diversity;
    const SelectionInput input(n, items.array.shape(1), {"embeddings", items.array}, relevance, given, options);
    Output<std::int64_t> indices({smaller(max_picks, n)});
    Output<double> scores({smaller(max_picks, n)});
    const auto index_span = indices.span();
    const auto score_span = scores.span();
    const auto count = [&] {
        const py::gil_scoped_release release;
        return Select(items.view, input.relevance(), options, index_span, score_span);
    }();
    raise_unless_ok(count.status());
    return py::make_tuple(indices.array, scores.array);
}

using PyRule = std::tuple<py::object, py::object, py::object, py::ssize_t, py::ssize_t>;
using PySlot = std::tuple<py::ssize_t, py::object>;

py::tuple bind_arrange(py::ssize_t n, const std::vector<PyRule>& rules, const std::vector<PySlot>& slots,
                       const py::object& is_slot_only, py::ssize_t k) {
    const std::size_t n_items = size_up_to(kMaxArrangeItems, n, "n");
    size_up_to(kMaxArrangeItems, k, "k");
    std::vector<Input<std::int64_t>> labels;
    std::vector<Input<std::uint8_t>> members;
    std::vector<ArrangeRule> native_rules;
    std::vector<ArrangeSlot> native_slots;
    for (const auto& [own, conflicts, shown, window, max_conflicts] : rules) {
        labels.push_back(int64_input(own, "labels", {n}));
        labels.push_back(int64_input(conflicts, "conflicts", {n}));
        labels.push_back(int64_input(shown, "shown", {"M"}));
        if (max_conflicts < 0) {
            throw py::value_error("max_conflicts must be ≥ 0, got " + std::to_string(max_conflicts));
        }
        const auto end = labels.end();
        native_rules.push_back({end[-3].span(), end[-2].span(), end[-1].span(), positive(window, "window"),
                                static_cast<std::size_t>(max_conflicts)});
    }
    for (const auto& [position, slot_members] : slots) {
        if (position < 0) throw py::value_error("a slot is at position " + std::to_string(position));
        native_slots.push_back({static_cast<std::size_t>(position), {}, slot_members.is_none()});
        if (slot_members.is_none()) continue;
        members.push_back(bool_input(slot_members, "members", {n}));
        native_slots.back().members = members.back().span();
    }
    Input<std::uint8_t> slot_only;
    if (!is_slot_only.is_none()) slot_only = bool_input(is_slot_only, "is_slot_only", {n});
    const auto in_slots = is_slot_only.is_none() ? std::span<const std::uint8_t>{} : slot_only.span();
    Output<std::int64_t> indices({k});
    const auto positions = indices.span();
    std::vector<ArrangeViolation> violations;
    const auto is_exact = [&] {
        const py::gil_scoped_release release;
        return arrange(n_items, native_rules, native_slots, in_slots, positions, violations);
    }();
    raise_unless_ok(is_exact.status());
    std::vector<std::tuple<std::size_t, std::size_t, std::size_t>> found;
    found.reserve(violations.size());
    for (const ArrangeViolation& v : violations) found.emplace_back(v.position, v.rule, v.excess);
    return py::make_tuple(indices.array, found, is_exact.value());
}

VectorMap make_vector_map(const py::object& mean, py::handle axes, py::handle variances, double exponent) {
    const auto v = float64_input(variances, "variances", {"D"});
    const auto a = float64_input(axes, "axes", {v.shape(0), v.shape(0)});
    Input<double> m;
    if (!mean.is_none()) m = float64_input(mean, "mean", {v.shape(0)});
    auto map = VectorMap::make(mean.is_none() ? std::span<const double>{} : m.span(), a.span(), v.span(), exponent);
    raise_unless_ok(map.status());
    return std::move(map.value());
}

py::array_t<float> apply_vector_map(const VectorMap& map, py::handle vectors) {
    const auto input = float32_input(vectors, "vectors", {"N", static_cast<py::ssize_t>(map.dim())});
    Output<float> output({input.shape(0), input.shape(1)});
    const auto values = input.span();
    const auto mapped = output.span();
    {
        const py::gil_scoped_release release;
        std::ranges::copy(values, mapped.begin());
        map.apply(mapped);
    }
    return output.array;
}

}  // namespace

template <class Face>
void bind_selections(py::class_<Face>& face) {
    const auto select = method<Face>(&bind_dpp_select_rows);
    face.def("dpp_select", [select](const Face& self, py::handle rows, py::handle relevance, py::ssize_t k,
                                    const py::kwargs& options) { return select(self, rows, relevance, k, options); });
}

template void bind_selections(py::class_<ItemIndex>& face);
template void bind_selections(py::class_<HeldView>& face);

void bind_diversity(py::module_& module) {
    py::class_<VectorMap>(module, "VectorMap").def(py::init(&make_vector_map)).def("apply", &apply_vector_map);
    module.def("dpp_alpha", &dpp_alpha);
    module.def("dpp_select", &bind_dpp_select);
    module.def("dpp_select_kernel", &bind_dpp_select_kernel);
    module.def("mmr_select", &bind_mmr_ssd_select<&mmr_select>);
    module.def("ssd_select", &bind_mmr_ssd_select<&ssd_select>);
    module.def("arrange", &bind_arrange);
}

}  // namespace karec::python
