// Filters for Python: terms as tuples.
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <vector>

#include "arrays.hpp"
#include "bindings.hpp"
#include "karec/filter.hpp"

namespace karec::python {
namespace {

// (op, n_parts, column, integers, numbers, is_category)
using TermTuple =
    std::tuple<std::uint32_t, std::size_t, std::string, std::vector<std::int64_t>, std::vector<double>, bool>;

Filter compile(const std::vector<TermTuple>& tuples) {
    std::vector<FilterTerm> terms;
    terms.reserve(tuples.size());
    for (const auto& [op, n_parts, column, integers, numbers, is_category] : tuples) {
        terms.push_back({static_cast<FilterOp>(op), n_parts, column, integers, numbers, is_category});
    }
    auto filter = Filter::compile(terms);
    raise_unless_ok(filter.status());
    return filter.value();
}

}  // namespace

void bind_filter(py::module_& module) {
    py::class_<Filter>(module, "Filter").def(py::init(&compile), py::arg("terms"));
}

}  // namespace karec::python
