// The searches of ItemIndex, added to its class.
#pragma once

#include <pybind11/pybind11.h>

#include "karec/item_index.hpp"

namespace karec::python {

void bind_search(pybind11::class_<ItemIndex>& face);

}  // namespace karec::python
