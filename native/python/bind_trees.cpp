// Regression trees for Python: check, release the GIL, call.
#include "arrays.hpp"
#include "bindings.hpp"
#include "trees/tree_ensemble.hpp"

namespace karec::python {
namespace {

TreeEnsemble trees_of(py::handle sizes, py::handle outputs, py::handle features, py::handle values, py::handle children,
                      py::handle missing_first, py::ssize_t n_features, py::ssize_t n_outputs) {
    const auto of_trees = int64_input(sizes, "sizes", {"T"});
    const auto sums = int64_input(outputs, "outputs", {of_trees.shape(0)});
    const auto read = int64_input(features, "features", {"M"});
    const py::ssize_t n = read.shape(0);
    const auto numbers = float32_input(values, "values", {n});
    const auto under = int64_input(children, "children", {n, 2});
    const auto missing = bool_input(missing_first, "missing_first", {n});
    auto made =
        TreeEnsemble::of({of_trees.span(), sums.span(), read.span(), numbers.span(), under.span(), missing.span()},
                         positive(n_features, "n_features"), positive(n_outputs, "n_outputs"));
    raise_unless_ok(made.status());
    return std::move(made.value());
}

py::array_t<float> scores_of(const TreeEnsemble& trees, py::handle rows) {
    const auto given = float32_input(rows, "rows", {"N", static_cast<py::ssize_t>(trees.n_features())});
    Output<float> out({static_cast<py::ssize_t>(trees.n_outputs()), given.shape(0)});
    const auto to = out.span();
    const auto from = given.span();
    Status status;
    {
        const py::gil_scoped_release release;
        status = trees.scores(from, to);
    }
    raise_unless_ok(status);
    return std::move(out.array);
}

}  // namespace

void bind_trees(py::module_& module) {
    py::class_<TreeEnsemble> face(module, "TreeEnsemble");
    face.def(py::init(&trees_of)).def("__len__", &TreeEnsemble::n_trees).def("scores", &scores_of);
    face.attr("MOST_LEAVES") = kMostLeaves;
}

}  // namespace karec::python
