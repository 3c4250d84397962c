// The parts of karec._native.
#pragma once

#include <pybind11/pybind11.h>

namespace karec::python {

void bind_index(pybind11::module_& module);
void bind_diversity(pybind11::module_& module);
void bind_filter(pybind11::module_& module);
void bind_freshness(pybind11::module_& module);
void bind_ids(pybind11::module_& module);
void bind_features(pybind11::module_& module);
void bind_sums(pybind11::module_& module);
void bind_trees(pybind11::module_& module);

}  // namespace karec::python
