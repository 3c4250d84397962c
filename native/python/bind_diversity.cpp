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

template <class T>
T option(const py::kwargs& options, const char* name) {
    return cast_argument<T>(options[name], name);
}

struct Picks {
    explicit Picks(py::ssize_t k) : indices({k}), gains({k}) {}

    py::tuple cut(const DppCount& count) {
        const py::slice selected(0, static_cast<py::ssize_t>(count.selected), 1);
        return py::make_tuple(indices.array[selected], gains.array[selected], count.log_det, count.n_dpp);
    }

    Output<std::int64_t> indices;
    Output<double> gains;
};

py::ssize_t smaller(std::size_t k, py::ssize_t n) {
    return std::min(static_cast<py::ssize_t>(k), n);
}

// Facets of N items and of M rows that were shown; the arrays that they point to stay alive while the library reads
// them.
struct FacetInput {
    FacetInput() = default;
    FacetInput(py::handle codes, py::handle weights_of, py::handle codes_of_shown, py::ssize_t n, std::size_t n_shown,
               const std::string& because)
        : weights(cast_argument<std::vector<double>>(weights_of, "facet_weights")) {
        const auto n_facets = static_cast<py::ssize_t>(weights.size());
        if (!codes.is_none()) facets = int64_input(codes, "facets", {n_facets, n}, because);
        if (codes_of_shown.is_none()) return;
        const std::string of = "there are " + std::to_string(n_facets) + " facet_weights and " +
                               std::to_string(n_shown) + " rows of shown";
        shown_facets = int64_input(codes_of_shown, "shown_facets", {n_facets, static_cast<py::ssize_t>(n_shown)}, of);
    }

    template <class Options>
    void into(Options& options) const {
        options.facet_weights = weights;
        options.facets = facets.span();
        options.shown_facets = shown_facets.span();
    }

    std::vector<double> weights;
    Input<std::int64_t> facets;
    Input<std::int64_t> shown_facets;
};

// Scores and options of a DPP over N items; the arrays that they point to stay alive while the library reads them.
struct DppInput {
    DppInput(py::ssize_t n, py::ssize_t dim, const std::string& because, py::handle relevance, const py::kwargs& told)
        : scores(float32_input(relevance, "relevance", {n}, because)) {
        options.alpha = option<double>(told, "alpha");
        options.ridge = option<double>(told, "ridge");
        options.type_weight = option<double>(told, "type_weight");
        options.window = positive_or_none(option<std::optional<py::ssize_t>>(told, "window"), "window");
        options.max_per_type =
            positive_or_none(option<std::optional<py::ssize_t>>(told, "max_per_type"), "max_per_type");
        const auto least = option<py::ssize_t>(told, "min_per_type");
        if (least < 0) throw py::value_error("min_per_type must be ≥ 0, got " + std::to_string(least));
        options.min_per_type = static_cast<std::size_t>(least);
        options.fill = option<bool>(told, "fill") ? DppFill::relevance : DppFill::none;
        if (!told["weights"].is_none()) {
            weights = float32_input(told["weights"], "weights", {n}, because);
            options.weights = weights.span();
        }
        if (!told["types"].is_none()) {
            types = int64_input(told["types"], "types", {n}, because);
            options.types = types.span();
        }
        if (!told["shown"].is_none()) {
            shown = matrix_input(told["shown"], "shown", {"M", dim}, because);
            options.shown = shown.view;
        }
        facets =
            FacetInput(told["facets"], told["facet_weights"], told["shown_facets"], n, options.shown.rows, because);
        facets.into(options);
    }

    DppInput(const py::array& embeddings, py::handle relevance, const py::kwargs& told)
        : DppInput(embeddings.shape(0), embeddings.shape(1), "embeddings has shape " + shape_of(embeddings), relevance,
                   told) {}

    Input<float> scores;
    Input<float> weights;
    Input<std::int64_t> types;
    FacetInput facets;
    MatrixInput shown;
    DppOptions options;
};

template <class Select>
py::tuple picked(std::size_t k, py::ssize_t n, const Select& select) {
    Picks picks(smaller(k, n));
    const auto indices = picks.indices.span();
    const auto gains = picks.gains.span();
    const auto count = [&] {
        const py::gil_scoped_release release;
        return select(indices, gains);
    }();
    raise_unless_ok(count.status());
    return picks.cut(count.value());
}

py::tuple select(py::handle embeddings, py::handle relevance, py::ssize_t k, const py::kwargs& told) {
    const std::size_t wanted = positive(k, "k");
    const auto items = matrix_input(embeddings, "embeddings", {"N", "D"});
    const DppInput input(items.array, relevance, told);
    return picked(wanted, items.array.shape(0), [&](auto indices, auto gains) {
        return dpp_select(items.view, input.scores.span(), input.options, indices, gains);
    });
}

py::tuple select_rows(const IndexView& view, py::handle rows, py::handle relevance, py::ssize_t k,
                      const py::kwargs& told) {
    const std::size_t wanted = positive(k, "k");
    const auto items = rows_input(rows);
    const py::ssize_t n = items.shape(0);
    const DppInput input(n, static_cast<py::ssize_t>(view.dim()), "rows has shape " + shape_of(items.array), relevance,
                         told);
    return picked(wanted, n, [&](auto indices, auto gains) {
        return view.dpp_select(items.rows(), input.scores.span(), input.options, indices, gains);
    });
}

py::tuple select_kernel(py::handle kernel, py::ssize_t k, std::optional<py::ssize_t> window) {
    const std::size_t wanted = positive(k, "k");
    const auto look_back = positive_or_none(window, "window");
    const auto entries = float64_input(kernel, "kernel", {"N", "N"});
    if (entries.shape(0) != entries.shape(1)) {
        throw py::value_error("kernel has shape " + shape_of(entries.array) + ", expected (N, N)");
    }
    const auto n = static_cast<std::size_t>(entries.shape(0));
    return picked(wanted, entries.shape(0), [&](auto indices, auto gains) {
        return dpp_select_kernel(entries.span(), n, look_back, indices, gains);
    });
}

template <auto Select>
py::tuple scatter_by_embeddings(py::handle embeddings, py::handle relevance, py::ssize_t k, double diversity,
                                std::optional<py::ssize_t> window, const py::object& shown, const py::object& facets,
                                const py::object& facet_weights, const py::object& shown_facets) {
    const std::size_t wanted = positive(k, "k");
    const auto items = matrix_input(embeddings, "embeddings", {"N", "D"});
    const py::ssize_t n = items.array.shape(0);
    const std::string because = "embeddings has shape " + shape_of(items.array);
    const auto values = float32_input(relevance, "relevance", {n}, because);
    MmrSsdOptions options;
    options.diversity = diversity;
    options.window = positive_or_none(window, "window");
    MatrixInput seen;
    if (!shown.is_none()) {
        seen = matrix_input(shown, "shown", {"M", items.array.shape(1)}, because);
        options.shown = seen.view;
    }
    const FacetInput alike(facets, facet_weights, shown_facets, n, options.shown.rows, because);
    alike.into(options);
    Output<std::int64_t> indices({smaller(wanted, n)});
    Output<double> scores({smaller(wanted, n)});
    const auto out = indices.span();
    const auto out_scores = scores.span();
    const auto count = [&] {
        const py::gil_scoped_release release;
        return Select(items.view, values.span(), options, out, out_scores);
    }();
    raise_unless_ok(count.status());
    return py::make_tuple(indices.array, scores.array);
}

using PyMarks = std::tuple<py::object, py::object, py::object, py::ssize_t, py::ssize_t>;
using PySlot = std::tuple<py::ssize_t, py::object>;

py::tuple arranged(py::ssize_t n, const std::vector<PyMarks>& rules, const std::vector<PySlot>& slots,
                   const py::object& only, py::ssize_t k) {
    const std::size_t n_items = size_up_to(ARRANGE_MAX_ITEMS, n, "n");
    size_up_to(ARRANGE_MAX_ITEMS, k, "k");
    std::vector<Input<std::int64_t>> marks;
    std::vector<Input<std::uint8_t>> members;
    std::vector<ArrangeRule> native;
    std::vector<ArrangeSlot> places;
    for (const auto& [puts, looks, shown, window, allowed] : rules) {
        marks.push_back(int64_input(puts, "puts", {n}));
        marks.push_back(int64_input(looks, "looks", {n}));
        marks.push_back(int64_input(shown, "shown", {"M"}));
        if (allowed < 0) throw py::value_error("allowed must be at least 0, got " + std::to_string(allowed));
        const auto at = marks.end();
        native.push_back({at[-3].span(), at[-2].span(), at[-1].span(), positive(window, "window"),
                          static_cast<std::size_t>(allowed)});
    }
    for (const auto& [place, fits] : slots) {
        if (place < 0) throw py::value_error("a slot is at place " + std::to_string(place));
        places.push_back({static_cast<std::size_t>(place), {}, fits.is_none()});
        if (fits.is_none()) continue;
        members.push_back(bool_input(fits, "fits", {n}));
        places.back().fits = members.back().span();
    }
    Input<std::uint8_t> in_slots;
    if (!only.is_none()) in_slots = bool_input(only, "only", {n});
    const auto kept = only.is_none() ? std::span<const std::uint8_t>{} : in_slots.span();
    Output<std::int64_t> indices({k});
    const auto out = indices.span();
    std::vector<ArrangeViolation> violations;
    const auto whole = [&] {
        const py::gil_scoped_release release;
        return arrange(n_items, native, places, kept, out, violations);
    }();
    raise_unless_ok(whole.status());
    std::vector<std::tuple<std::size_t, std::size_t, std::size_t>> found;
    found.reserve(violations.size());
    for (const ArrangeViolation& v : violations) found.emplace_back(v.place, v.rule, v.excess);
    return py::make_tuple(indices.array, found, whole.value());
}

VectorMap map_of(const py::object& mean, py::handle axes, py::handle variances, double exponent) {
    const auto v = float64_input(variances, "variances", {"D"});
    const auto a = float64_input(axes, "axes", {v.shape(0), v.shape(0)});
    Input<double> m;
    if (!mean.is_none()) m = float64_input(mean, "mean", {v.shape(0)});
    auto map = VectorMap::make(mean.is_none() ? std::span<const double>{} : m.span(), a.span(), v.span(), exponent);
    raise_unless_ok(map.status());
    return std::move(map.value());
}

py::array_t<float> mapped(const VectorMap& map, py::handle vectors) {
    const auto given = float32_input(vectors, "vectors", {"N", static_cast<py::ssize_t>(map.dim())});
    Output<float> out({given.shape(0), given.shape(1)});
    const auto from = given.span();
    const auto to = out.span();
    {
        const py::gil_scoped_release release;
        std::ranges::copy(from, to.begin());
        map.apply(to);
    }
    return out.array;
}

}  // namespace

template <class Face>
void bind_selections(py::class_<Face>& face) {
    const auto select = method<Face>(&select_rows);
    face.def("dpp_select", [select](const Face& of, py::handle rows, py::handle relevance, py::ssize_t k,
                                    const py::kwargs& told) { return select(of, rows, relevance, k, told); });
}

template void bind_selections(py::class_<ItemIndex>& face);
template void bind_selections(py::class_<HeldView>& face);

void bind_diversity(py::module_& module) {
    py::class_<VectorMap>(module, "VectorMap").def(py::init(&map_of)).def("apply", &mapped);
    module.def("dpp_alpha", &dpp_alpha);
    module.def("dpp_select", &select);
    module.def("dpp_select_kernel", &select_kernel);
    module.def("mmr_select", &scatter_by_embeddings<&mmr_select>);
    module.def("ssd_select", &scatter_by_embeddings<&ssd_select>);
    module.def("arrange", &arranged);
}

}  // namespace karec::python
