// Builds and writes of ItemIndex for Python. Each call checks its arrays and releases the GIL.
#include <pybind11/stl.h>

#include <memory>
#include <utility>

#include "arrays.hpp"
#include "bindings.hpp"
#include "karec/item_index.hpp"
#include "reading.hpp"

namespace karec::python {
namespace {

using Columns = std::vector<std::pair<std::string, py::object>>;

// Views of the columns; `arrays` keeps their memory alive.
std::vector<Column> to_columns(const Columns& columns, const Input<std::int64_t>& ids, std::vector<py::array>& arrays) {
    std::vector<Column> views;
    const Reason reason("ids", ids.array);
    for (const auto& [name, column] : columns) {
        ColumnInput input = column_input(column, "column '" + name + "'", ids.shape(0), reason);
        views.push_back({name, input.view.dtype, input.view.bytes});
        arrays.push_back(std::move(input.array));
    }
    return views;
}

// The same for code columns.
std::vector<Column> to_code_columns(const Columns& columns, const Input<std::int64_t>& ids,
                                    std::vector<py::array>& arrays) {
    std::vector<Column> views;
    const Reason reason("ids", ids.array);
    for (const auto& [name, column] : columns) {
        auto input = code_input(column, "codes of '" + name + "'", ids.shape(0), reason);
        views.push_back({name, DType::uint32, std::as_bytes(input.span())});
        arrays.push_back(std::move(input.array));
    }
    return views;
}

DType to_stored_dtype(const std::string& dtype) {
    if (dtype == "float16") return DType::float16;
    if (dtype == "float32") return DType::float32;
    if (dtype == "int8") return DType::int8;
    throw py::value_error("dtype must be 'float16', 'float32' or 'int8', got '" + dtype + "'");
}

ItemIndex build(py::handle ids, py::handle embeddings, const std::string& dtype, const Columns& columns,
                const Columns& codes, std::int64_t model_version, bool rescore, std::uint64_t space_id) {
    ItemIndex::BuildOptions options;
    options.dtype = to_stored_dtype(dtype);
    const auto keys = int64_input(ids, "ids", {"N"});
    const auto vectors = matrix_input(embeddings, "embeddings", {keys.shape(0), "D"}, {"ids", keys.array});
    std::vector<py::array> column_arrays;
    const std::vector<Column> views = to_columns(columns, keys, column_arrays);
    const std::vector<Column> code_views = to_code_columns(codes, keys, column_arrays);
    options.columns = views;
    options.code_columns = code_views;
    options.model_version = model_version;
    options.rescore = rescore;
    options.space_id = space_id;
    return call_without_gil([&] { return ItemIndex::build(keys.span(), vectors.view, options); });
}

void upsert(ItemIndex& index, py::handle ids, py::handle embeddings, const Columns& columns, const Columns& codes,
            std::int64_t model_version, std::uint64_t space_id) {
    const auto keys = int64_input(ids, "ids", {"N"});
    const auto vectors = matrix_input(
        embeddings, "embeddings", {keys.shape(0), static_cast<py::ssize_t>(index.pinned().dim())}, {"ids", keys.array});
    std::vector<py::array> column_arrays;
    const std::vector<Column> views = to_columns(columns, keys, column_arrays);
    const std::vector<Column> code_views = to_code_columns(codes, keys, column_arrays);
    call_without_gil(
        [&] { return index.upsert(keys.span(), vectors.view, views, model_version, space_id, code_views); });
}

void calibrate(ItemIndex& index, std::int64_t model_version, float scale, float offset) {
    call_without_gil([&] { return index.calibrate(model_version, scale, offset); });
}

template <Result<std::size_t> (ItemIndex::*Write)(std::span<const std::int64_t>) noexcept>
std::size_t write(ItemIndex& index, py::handle ids) {
    const auto keys = int64_input(ids, "ids", {"N"});
    return call_without_gil([&] { return (index.*Write)(keys.span()); });
}

std::size_t adjust(ItemIndex& index, py::handle ids, const py::object& scale, const py::object& offset) {
    const auto keys = int64_input(ids, "ids", {"N"});
    const Reason reason("ids", keys.array);
    const auto read = [&](const py::object& value, const char* name) -> std::optional<Input<float>> {
        if (value.is_none()) return std::nullopt;
        return float32_input(value, name, {keys.shape(0)}, reason);
    };
    const auto scales = read(scale, "scale");
    const auto offsets = read(offset, "offset");
    const auto span = [](const std::optional<Input<float>>& input) {
        return input ? input->span() : std::span<const float>();
    };
    return call_without_gil([&] { return index.adjust(keys.span(), span(scales), span(offsets)); });
}

void build_lists(ItemIndex& index, std::size_t n_lists, std::uint64_t seed) {
    call_without_gil([&] { return index.build_lists({n_lists, seed}); });
}

ItemIndex open(const std::string& path, bool verify, bool copy) {
    return call_without_gil([&] { return ItemIndex::open(path, {verify, copy}); });
}

}  // namespace

void bind_index(py::module_& module) {
    module.def("isa", [] { return std::string(active_isa()); });
    py::class_<ItemIndex> index(module, "ItemIndex");
    index.def_static("build", &build)
        .def_static("open", &open)
        .def("pinned", [](const ItemIndex& self) { return HeldView(self.pinned()); })
        .def("upsert", &upsert)
        .def("calibrate", &calibrate)
        .def("remove", &write<&ItemIndex::remove>)
        .def("block", &write<&ItemIndex::block>)
        .def("unblock", &write<&ItemIndex::unblock>)
        .def("adjust", &adjust)
        .def("build_lists", &build_lists);
    bind_reads(index);
    py::class_<HeldView> view(module, "IndexView");
    view.def("close", &HeldView::close);
    bind_reads(view);
}

}  // namespace karec::python
