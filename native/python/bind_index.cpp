// ItemIndex for Python, its making and its writes: check, release the GIL, call.
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
std::vector<Column> views_of(const Columns& columns, const Input<std::int64_t>& ids, std::vector<py::array>& arrays) {
    std::vector<Column> views;
    const std::string because = "ids has shape " + shape_of(ids.array);
    for (const auto& [name, column] : columns) {
        ColumnInput input = column_input(column, "column '" + name + "'", ids.shape(0), because);
        views.push_back({name, input.view.dtype, input.view.bytes});
        arrays.push_back(std::move(input.array));
    }
    return views;
}

DType stored_as(const std::string& dtype) {
    if (dtype == "float16") return DType::float16;
    if (dtype == "float32") return DType::float32;
    if (dtype == "int8") return DType::int8;
    throw py::value_error("dtype must be 'float16', 'float32' or 'int8', got '" + dtype + "'");
}

ItemIndex build(py::handle ids, py::handle embeddings, const std::string& dtype, const Columns& columns,
                std::int64_t model_version, bool rescore, std::uint64_t space_id) {
    ItemIndex::BuildOptions options;
    options.dtype = stored_as(dtype);
    const auto keys = int64_input(ids, "ids", {"N"});
    const auto vectors =
        matrix_input(embeddings, "embeddings", {keys.shape(0), "D"}, "ids has shape " + shape_of(keys.array));
    std::vector<py::array> column_arrays;
    const std::vector<Column> views = views_of(columns, keys, column_arrays);
    options.columns = views;
    options.model_version = model_version;
    options.rescore = rescore;
    options.space_id = space_id;
    auto index = [&] {
        const py::gil_scoped_release release;
        return ItemIndex::build(keys.span(), vectors.view, options);
    }();
    raise_unless_ok(index.status());
    return std::move(index.value());
}

void upsert(ItemIndex& index, py::handle ids, py::handle embeddings, const Columns& columns, std::int64_t model_version,
            std::uint64_t space_id) {
    const auto keys = int64_input(ids, "ids", {"N"});
    const auto vectors = matrix_input(embeddings, "embeddings", {keys.shape(0), static_cast<py::ssize_t>(index.dim())},
                                      "ids has shape " + shape_of(keys.array));
    std::vector<py::array> column_arrays;
    const std::vector<Column> views = views_of(columns, keys, column_arrays);
    Status status;
    {
        const py::gil_scoped_release release;
        status = index.upsert(keys.span(), vectors.view, views, model_version, space_id);
    }
    raise_unless_ok(status);
}

void calibrate(ItemIndex& index, std::int64_t model_version, float scale, float offset) {
    Status status;
    {
        const py::gil_scoped_release release;
        status = index.calibrate(model_version, scale, offset);
    }
    raise_unless_ok(status);
}

template <Result<std::size_t> (ItemIndex::*Write)(std::span<const std::int64_t>) noexcept>
std::size_t write(ItemIndex& index, py::handle ids) {
    const auto keys = int64_input(ids, "ids", {"N"});
    const auto unknown = [&] {
        const py::gil_scoped_release release;
        return (index.*Write)(keys.span());
    }();
    raise_unless_ok(unknown.status());
    return unknown.value();
}

std::size_t adjust(ItemIndex& index, py::handle ids, const py::object& scale, const py::object& offset) {
    const auto keys = int64_input(ids, "ids", {"N"});
    const std::string because = "ids has shape " + shape_of(keys.array);
    const auto half = [&](const py::object& value, const char* name) -> std::optional<Input<float>> {
        if (value.is_none()) return std::nullopt;
        return float32_input(value, name, {keys.shape(0)}, because);
    };
    const auto scales = half(scale, "scale");
    const auto offsets = half(offset, "offset");
    const auto span = [](const std::optional<Input<float>>& input) {
        return input ? input->span() : std::span<const float>();
    };
    const auto unknown = [&] {
        const py::gil_scoped_release release;
        return index.adjust(keys.span(), span(scales), span(offsets));
    }();
    raise_unless_ok(unknown.status());
    return unknown.value();
}

void build_lists(ItemIndex& index, std::size_t n_lists, std::uint64_t seed) {
    Status status;
    {
        const py::gil_scoped_release release;
        status = index.build_lists({n_lists, seed});
    }
    raise_unless_ok(status);
}

ItemIndex open(const std::string& path, bool verify, bool copy) {
    auto index = [&] {
        const py::gil_scoped_release release;
        return ItemIndex::open(path, {verify, copy});
    }();
    raise_unless_ok(index.status());
    return std::move(index.value());
}

}  // namespace

void bind_index(py::module_& module) {
    module.def("isa", [] {
        raise_unless_ok(check_isa());
        return std::string(active_isa());
    });
    py::class_<ItemIndex> index(module, "ItemIndex");
    index.def_static("build", &build)
        .def_static("open", &open)
        .def("pinned", [](const ItemIndex& of) { return HeldView(of.pinned()); })
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
