// Sums of table rows for Python: check the arrays, release the GIL, call the library.
#include <pybind11/stl.h>

#include "bindings.hpp"
#include "reading.hpp"
#include "sums/row_sums.hpp"

namespace karec::python {
namespace {

py::tuple read_file(const py::bytes& npz) {
    const auto text = npz.cast<std::string_view>();
    auto file = RowSumsFile::read(std::as_bytes(std::span(text)));
    raise_unless_ok(file.status());
    const auto& [xxh64, sums, rest] = file.value();
    const py::bytes model(reinterpret_cast<const char*>(rest.data()), rest.size());
    return py::make_tuple(xxh64, model, py::cast(std::move(file->sums)));
}

// One array of all outputs, one after the other.
py::array_t<float> compute_sums(const RowSums& sums, py::handle item_ids, py::handle item_numbers) {
    const auto to_dim = [](std::size_t n) { return Dim(static_cast<py::ssize_t>(n)); };
    const auto ids = int64_input(item_ids, "item_ids", {"N", to_dim(sums.n_codes())});
    const auto numbers = float32_input(item_numbers, "item_numbers", {ids.shape(0), to_dim(sums.n_numbers())});
    const auto n = static_cast<std::size_t>(ids.shape(0));
    Output<float> out({static_cast<py::ssize_t>(n * sums.width())});
    call_without_gil([&, codes = ids.span(), x = numbers.span(), to = out.span()] {
        sums.sum(codes, x, n, to);
        return Status();
    });
    return std::move(out.array);
}

std::vector<std::pair<std::string, std::size_t>> outputs_of(const RowSums& sums) {
    std::vector<std::pair<std::string, std::size_t>> outputs;
    for (const auto& [name, width] : sums.outputs()) outputs.emplace_back(name, width);
    return outputs;
}

}  // namespace

void bind_sums(py::module_& module) {
    py::class_<RowSums> face(module, "RowSums");
    face.def_static("read", &read_file).def("sum", &compute_sums);
    face.def_property_readonly("n_codes", &RowSums::n_codes).def_property_readonly("n_numbers", &RowSums::n_numbers);
    face.def_property_readonly("outputs", &outputs_of).def_property_readonly("bytes", &RowSums::bytes);
}

}  // namespace karec::python
