// ItemIndex for Python: check, release the GIL, call.
#include <pybind11/stl.h>

#include <utility>

#include "arrays.hpp"
#include "bindings.hpp"
#include "karec/item_index.hpp"

namespace karec::python {
namespace {

using Columns = std::vector<std::pair<std::string, py::array>>;

ItemIndex build(py::handle ids, py::handle embeddings, const std::string& dtype, const Columns& columns,
                std::int64_t model_version) {
    if (dtype != "float16" && dtype != "float32") {
        throw py::value_error("dtype must be 'float16' or 'float32', got '" + dtype + "'");
    }
    const auto keys = int64_input(ids, "ids", {"N"});
    const auto vectors =
        matrix_input(embeddings, "embeddings", {keys.shape(0), "D"}, "ids has shape " + shape_of(keys.array));
    std::vector<py::array> arrays;
    std::vector<Column> views;
    for (const auto& [name, column] : columns) {
        if (column.ndim() != 1 || column.shape(0) != keys.shape(0)) {
            throw py::value_error("column '" + name + "' has shape " + shape_of(column) + ", expected (" +
                                  std::to_string(keys.shape(0)) + ",) as ids has shape " + shape_of(keys.array));
        }
        const auto type = dtype_of(column);
        if (!type) {
            throw py::value_error("column '" + name + "' has dtype " + py::str(column.dtype()).cast<std::string>() +
                                  ", expected an integer, floating or boolean one");
        }
        const py::array plain = py::module_::import("numpy").attr("ascontiguousarray")(column, name_of(*type));
        const auto bytes = static_cast<std::size_t>(plain.nbytes());
        views.push_back({name, *type, {static_cast<const std::byte*>(plain.data()), bytes}});
        arrays.push_back(plain);
    }
    ItemIndex::BuildOptions options;
    options.dtype = dtype == "float16" ? DType::float16 : DType::float32;
    options.columns = views;
    options.model_version = model_version;
    auto index = [&] {
        const py::gil_scoped_release release;
        return ItemIndex::build(keys.span(), vectors.view, options);
    }();
    raise_unless_ok(index.status());
    return std::move(index.value());
}

ItemIndex open(const std::string& path) {
    auto index = [&] {
        const py::gil_scoped_release release;
        return ItemIndex::open(path);
    }();
    raise_unless_ok(index.status());
    return std::move(index.value());
}

void save(const ItemIndex& index, const std::string& path) {
    Status status;
    {
        const py::gil_scoped_release release;
        status = index.save(path);
    }
    raise_unless_ok(status);
}

py::dict columns(const py::object& self) {
    py::dict views;
    for (const Column& column : self.cast<const ItemIndex&>().columns()) {
        const std::string bytes(column.name);
        const auto size = static_cast<py::ssize_t>(bytes.size());
        // A C++ host may have named a column in other bytes than UTF-8.
        auto name = py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(bytes.c_str(), size, "surrogateescape"));
        views[name] = view_of(column.dtype, column.bytes, self);
    }
    return views;
}

py::array_t<std::int32_t> lookup(const ItemIndex& index, py::handle ids) {
    const auto keys = int64_input(ids, "ids", {"N"});
    Output<std::int32_t> rows({keys.shape(0)});
    const auto out = rows.span();
    Status status;
    {
        const py::gil_scoped_release release;
        status = index.lookup(keys.span(), out);
    }
    raise_unless_ok(status);
    return rows.array;
}

struct RankedOutput {
    explicit RankedOutput(const std::vector<py::ssize_t>& shape)
        : scores(shape), ids(shape), rows(shape), positions(shape) {}
    Ranked spans() { return {scores.span(), ids.span(), rows.span(), positions.span()}; }

    Output<float> scores;
    Output<std::int64_t> ids;
    Output<std::int32_t> rows;
    Output<std::int64_t> positions;
};

py::tuple search(const ItemIndex& index, py::handle query, py::handle rows, py::ssize_t k) {
    const std::size_t wanted = positive(k, "k");
    const auto vector = float32_input(query, "query", {static_cast<py::ssize_t>(index.dim())});
    const auto candidates = rows_input(rows);
    RankedOutput ranked({static_cast<py::ssize_t>(std::min(wanted, candidates.span().size()))});
    const Ranked out = ranked.spans();
    const auto counts = [&] {
        const py::gil_scoped_release release;
        return index.search(vector.span(), candidates.span(), out);
    }();
    raise_unless_ok(counts.status());
    const py::slice found(0, static_cast<py::ssize_t>(counts->found), 1);
    return py::make_tuple(ranked.scores.array[found], ranked.ids.array[found], ranked.rows.array[found],
                          ranked.positions.array[found], counts->unknown);
}

py::tuple search_all(const ItemIndex& index, py::handle queries, py::ssize_t k, const py::object& mask) {
    const std::size_t wanted = positive(k, "k");
    const auto vectors = float32_input(queries, "queries", {"B", static_cast<py::ssize_t>(index.dim())});
    const auto n_rows = static_cast<py::ssize_t>(index.size());
    std::optional<Input<bool>> kept;
    std::span<const std::uint8_t> mask_bytes;
    if (!mask.is_none()) {
        kept = bool_input(mask, "mask", {n_rows});
        mask_bytes = {reinterpret_cast<const std::uint8_t*>(kept->span().data()), kept->span().size()};
    }
    const auto n_queries = static_cast<std::size_t>(vectors.shape(0));
    RankedOutput ranked({vectors.shape(0), static_cast<py::ssize_t>(std::min(wanted, index.size()))});
    const Ranked out = ranked.spans();
    std::vector<std::size_t> found(n_queries);
    Status status;
    {
        const py::gil_scoped_release release;
        status = index.search_all(vectors.span(), n_queries, mask_bytes, out, found);
    }
    raise_unless_ok(status);
    return py::make_tuple(ranked.scores.array, ranked.ids.array, ranked.rows.array, ranked.positions.array, found);
}

void scores(const ItemIndex& index, py::handle query, py::handle rows, py::array out) {
    const auto vector = float32_input(query, "query", {static_cast<py::ssize_t>(index.dim())});
    const auto candidates = rows_input(rows);
    if (!py::isinstance<py::array_t<float, py::array::c_style>>(out) || !out.writeable() || out.ndim() != 1 ||
        out.shape(0) != candidates.shape(0)) {
        throw py::value_error("out has shape " + shape_of(out) + " and dtype " +
                              py::str(out.dtype()).cast<std::string>() + ", expected (" +
                              std::to_string(candidates.shape(0)) + ",) float32, C-contiguous and writeable");
    }
    const std::span<float> to(static_cast<float*>(out.mutable_data()), static_cast<std::size_t>(out.size()));
    Status status;
    {
        const py::gil_scoped_release release;
        status = index.scores(vector.span(), candidates.span(), to);
    }
    raise_unless_ok(status);
}

py::array_t<float> embeddings(const ItemIndex& index, py::handle rows) {
    const auto candidates = rows_input(rows);
    Output<float> vectors({candidates.shape(0), static_cast<py::ssize_t>(index.dim())});
    const auto out = vectors.span();
    Status status;
    {
        const py::gil_scoped_release release;
        status = index.gather(candidates.span(), out);
    }
    raise_unless_ok(status);
    return vectors.array;
}

}  // namespace

void bind_index(py::module_& module) {
    module.def("isa", [] { return std::string(active_isa()); });
    py::class_<ItemIndex>(module, "ItemIndex")
        .def_static("build", &build)
        .def_static("open", &open)
        .def("save", &save)
        .def("__len__", &ItemIndex::size)
        .def_property_readonly("dim", &ItemIndex::dim)
        .def_property_readonly("dtype", [](const ItemIndex& index) { return name_of(index.dtype()); })
        .def_property_readonly("model_version", &ItemIndex::model_version)
        .def_property_readonly("generation", &ItemIndex::generation)
        .def("ids",
             [](const py::object& self) {
                 return view_of(DType::int64, std::as_bytes(self.cast<const ItemIndex&>().ids()), self);
             })
        .def("columns", &columns)
        .def("lookup", &lookup)
        .def("search", &search)
        .def("search_all", &search_all)
        .def("scores", &scores)
        .def("embeddings", &embeddings);
}

}  // namespace karec::python
