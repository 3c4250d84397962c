// DPP and scatter for Python: check, release the GIL, call.
#include <pybind11/stl.h>

#include <tuple>

#include "arrays.hpp"
#include "bindings.hpp"
#include "karec/dpp.hpp"
#include "karec/scatter.hpp"

namespace karec::python {
namespace {

std::optional<std::size_t> positive_or_none(std::optional<py::ssize_t> value, const char* name) {
    if (!value) return std::nullopt;
    return positive(*value, name);
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

py::tuple select(py::handle embeddings, py::handle relevance, py::ssize_t k, double alpha, double ridge,
                 const py::object& weights, const py::object& types, double type_weight,
                 std::optional<py::ssize_t> window, const py::object& shown, std::optional<py::ssize_t> max_per_type,
                 bool fill) {
    const std::size_t wanted = positive(k, "k");
    DppOptions options;
    options.alpha = alpha;
    options.ridge = ridge;
    options.type_weight = type_weight;
    options.window = positive_or_none(window, "window");
    options.max_per_type = positive_or_none(max_per_type, "max_per_type");
    options.fill = fill ? DppFill::relevance : DppFill::none;

    const auto items = matrix_input(embeddings, "embeddings", {"N", "D"});
    const py::ssize_t n = items.array.shape(0);
    const std::string because = "embeddings has shape " + shape_of(items.array);
    const auto scores = float32_input(relevance, "relevance", {n}, because);
    std::optional<Input<float>> factors;
    std::optional<Input<std::int64_t>> codes;
    std::optional<MatrixInput> seen;
    if (!weights.is_none()) {
        factors = float32_input(weights, "weights", {n}, because);
        options.weights = factors->span();
    }
    if (!types.is_none()) {
        codes = int64_input(types, "types", {n}, because);
        options.types = codes->span();
    }
    if (!shown.is_none()) {
        seen = matrix_input(shown, "shown", {"M", items.array.shape(1)}, because);
        options.shown = seen->view;
    }
    Picks picks(smaller(wanted, n));
    const auto indices = picks.indices.span();
    const auto gains = picks.gains.span();
    const auto count = [&] {
        const py::gil_scoped_release release;
        return dpp_select(items.view, scores.span(), options, indices, gains);
    }();
    raise_unless_ok(count.status());
    return picks.cut(count.value());
}

py::tuple select_kernel(py::handle kernel, py::ssize_t k, std::optional<py::ssize_t> window) {
    const std::size_t wanted = positive(k, "k");
    const auto look_back = positive_or_none(window, "window");
    const auto entries = float64_input(kernel, "kernel", {"N", "N"});
    if (entries.shape(0) != entries.shape(1)) {
        throw py::value_error("kernel has shape " + shape_of(entries.array) + ", expected (N, N)");
    }
    Picks picks(smaller(wanted, entries.shape(0)));
    const auto indices = picks.indices.span();
    const auto gains = picks.gains.span();
    const auto n = static_cast<std::size_t>(entries.shape(0));
    const auto count = [&] {
        const py::gil_scoped_release release;
        return dpp_select_kernel(entries.span(), n, look_back, indices, gains);
    }();
    raise_unless_ok(count.status());
    return picks.cut(count.value());
}

using PyRule = std::tuple<py::object, py::ssize_t, py::ssize_t>;

py::tuple rearrange(py::ssize_t n, const std::vector<PyRule>& rules, py::ssize_t k) {
    std::vector<Input<std::int64_t>> values;
    std::vector<ScatterRule> native;
    for (const auto& [column, window, max_count] : rules) {
        values.push_back(int64_input(column, "column", {n}));
        native.push_back({values.back().span(), positive(window, "window"), positive(max_count, "max_count")});
    }
    Output<std::int64_t> indices({k});
    const auto out = indices.span();
    std::vector<ScatterViolation> violations;
    Status status;
    {
        const py::gil_scoped_release release;
        status = scatter(static_cast<std::size_t>(n), native, out, violations);
    }
    raise_unless_ok(status);
    std::vector<std::tuple<std::size_t, std::size_t, std::size_t>> found;
    found.reserve(violations.size());
    for (const ScatterViolation& v : violations) found.emplace_back(v.position, v.rule, v.count);
    return py::make_tuple(indices.array, found);
}

}  // namespace

void bind_diversity(py::module_& module) {
    module.def("dpp_alpha", &dpp_alpha);
    module.def("dpp_select", &select, py::arg("embeddings"), py::arg("relevance"), py::arg("k"), py::kw_only(),
               py::arg("alpha"), py::arg("ridge"), py::arg("weights"), py::arg("types"), py::arg("type_weight"),
               py::arg("window"), py::arg("shown"), py::arg("max_per_type"), py::arg("fill"));
    module.def("dpp_select_kernel", &select_kernel);
    module.def("scatter", &rearrange);
}

}  // namespace karec::python
