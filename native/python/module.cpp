// karec._native: the C++ library for Python. No algorithm stands here.
#include "bindings.hpp"

PYBIND11_MODULE(_native, module) {
    karec::python::bind_index(module);
}
