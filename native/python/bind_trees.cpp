// Regression trees for Python: check the arrays, release the GIL, call the library.
#include "bindings.hpp"
#include "reading.hpp"
#include "trees/tree_ensemble.hpp"

namespace karec::python {
namespace {

TreeEnsemble make_trees(py::handle sizes, py::handle outputs, py::handle features, py::handle values,
                        py::handle children, py::handle missing_first, py::ssize_t n_features, py::ssize_t n_outputs) {
    const auto tree_sizes = int64_input(sizes, "sizes", {"T"});
    const auto tree_outputs = int64_input(outputs, "outputs", {tree_sizes.shape(0)});
    const auto node_features = int64_input(features, "features", {"M"});
    const py::ssize_t n = node_features.shape(0);
    const auto node_values = float32_input(values, "values", {n});
    const auto node_children = int64_input(children, "children", {n, 2});
    const auto node_missing = bool_input(missing_first, "missing_first", {n});
    const TreeNodes nodes{tree_sizes.span(),  tree_outputs.span(),  node_features.span(),
                          node_values.span(), node_children.span(), node_missing.span()};
    auto trees = TreeEnsemble::from_nodes(nodes, positive(n_features, "n_features"), positive(n_outputs, "n_outputs"));
    raise_unless_ok(trees.status());
    return std::move(trees.value());
}

py::array_t<float> compute_scores(const TreeEnsemble& trees, py::handle rows) {
    const auto input = float32_input(rows, "rows", {"N", static_cast<py::ssize_t>(trees.n_features())});
    Output<float> out({static_cast<py::ssize_t>(trees.n_outputs()), input.shape(0)});
    const auto scores = out.span();
    call_without_gil([&, values = input.span()] { return trees.scores(values, scores); });
    return std::move(out.array);
}

}  // namespace

void bind_trees(py::module_& module) {
    py::class_<TreeEnsemble> face(module, "TreeEnsemble");
    face.def(py::init(&make_trees)).def("__len__", &TreeEnsemble::n_trees).def("scores", &compute_scores);
    face.attr("MAX_LEAVES") = kMaxLeaves;
}

}  // namespace karec::python
