// karec._native: bindings of the C++ library for Python; no algorithms.
#include "bindings.hpp"

PYBIND11_MODULE(_native, module) {
    module.doc() = "karec's C++ library. Import karec.index, karec.diversity and karec.features instead of it.";
    karec::python::bind_index(module);
    karec::python::bind_diversity(module);
    karec::python::bind_freshness(module);
    karec::python::bind_ids(module);
    karec::python::bind_features(module);
    karec::python::bind_trees(module);
}
