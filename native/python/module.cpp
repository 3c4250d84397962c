// karec._native: bindings of the C++ library for Python; no algorithms.
#include "arrays.hpp"
#include "bindings.hpp"
#include "karec/item_index.hpp"

PYBIND11_MODULE(_native, module) {
    module.doc() = "karec's C++ library. Import karec.index, karec.diversity and karec.features instead of it.";
    if (const karec::Status status = karec::check_isa(); !status.ok()) {
        // pybind11 turns each error of this function into an ImportError. karec/__init__.py raises its cause.
        PyErr_SetString(PyExc_ValueError, status.message().c_str());
        throw pybind11::error_already_set();
    }
    karec::python::bind_filter(module);
    karec::python::bind_index(module);
    karec::python::bind_diversity(module);
    karec::python::bind_freshness(module);
    karec::python::bind_ids(module);
    karec::python::bind_features(module);
    karec::python::bind_sums(module);
    karec::python::bind_trees(module);
}
