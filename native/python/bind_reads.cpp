// Properties of an index and reads of its rows for Python: check the arrays, release the GIL, call the library.
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "base/scratch.hpp"
#include "reading.hpp"

namespace karec::python {
namespace {

// The name of a column. A C++ host may have written other bytes than UTF-8.
py::str to_str(std::string_view name) {
    const char* const bytes = name.data();
    const auto size = static_cast<py::ssize_t>(name.size());
    return py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(bytes, size, "surrogateescape"));
}

py::list column_types(const IndexView& view) {
    const auto types = view.column_types();
    raise_unless_ok(types.status());
    py::list pairs;
    for (const ColumnType& type : types.value()) pairs.append(py::make_tuple(to_str(type.name), name_of(type.dtype)));
    return pairs;
}

py::list code_columns(const IndexView& view) {
    const auto names = view.code_columns();
    raise_unless_ok(names.status());
    py::list texts;
    for (const std::string& name : names.value()) texts.append(to_str(name));
    return texts;
}

using Table = std::shared_ptr<const IndexTable>;

// (generation, ids, columns, present or None): read-only arrays, which keep their memory alive.
py::tuple table(const IndexView& view) {
    const Table found = call_without_gil([&] { return view.table(); });
    const py::capsule owner(new Table(found), [](void* owned) { delete static_cast<Table*>(owned); });
    py::dict columns;
    for (const Column& column : found->columns) {
        columns[to_str(column.name)] = view_of(column.dtype, column.bytes, owner);
    }
    py::object present = py::none();
    if (!found->present.empty()) present = view_of(DType::boolean, std::as_bytes(found->present), owner);
    return py::make_tuple(found->generation, view_of(DType::int64, std::as_bytes(found->ids), owner), columns, present);
}

void save(const IndexView& view, const std::string& path) {
    call_without_gil([&] { return view.save(path); });
}

// rows[i] = known[i], or the row of ids[i] if known[i] < 0. Unknown rows are often adjacent (items of one source), so
// that most blocks have no row to look up.
Status lookup_missing(const IndexView& view, std::span<const std::int64_t> ids, std::span<const std::int32_t> known,
                      std::span<std::int32_t> rows) {
    constexpr std::size_t kBlock = 64;
    ScratchArray<std::size_t> positions(ids.size());
    ScratchArray<std::int64_t> missing(ids.size());
    std::size_t n = 0;
    for (std::size_t first = 0; first < ids.size(); first += kBlock) {
        const std::size_t end = std::min(first + kBlock, ids.size());
        std::int32_t signs = 0;
        for (std::size_t i = first; i < end; ++i) {
            rows[i] = known[i];
            signs |= rows[i];
        }
        for (std::size_t i = first; i < end && signs < 0; ++i) {
            positions[n] = i;
            missing[n] = ids[i];
            n += rows[i] < 0;
        }
    }
    if (n == 0) return {};
    ScratchArray<std::int32_t> found(n);
    if (Status status = view.lookup({&missing[0], n}, {&found[0], n}); !status.ok()) return status;
    for (std::size_t i = 0; i < n; ++i) rows[positions[i]] = found[i];
    return {};
}

// (rows, their generation). `known`: rows that an earlier call found, or None.
py::tuple lookup(const IndexView& view, py::handle ids, const py::object& known) {
    const auto keys = int64_input(ids, "ids", {"N"});
    Output<std::int32_t> rows({keys.shape(0)});
    const auto out = rows.span();
    std::optional<RowsInput> before;
    if (!known.is_none()) {
        before = rows_input(known);
        if (before->shape(0) != keys.shape(0)) {
            throw py::value_error("known has shape " + shape_of(before->array) + ", expected (" +
                                  std::to_string(keys.shape(0)) + ",) as ids has");
        }
    }
    call_without_gil([&] {
        return before ? lookup_missing(view, keys.span(), before->span(), out) : view.lookup(keys.span(), out);
    });
    return py::make_tuple(rows.array, view.generation());
}

py::array gather(const IndexView& view, const std::string& column, py::handle rows) {
    const auto dtype = view.column_dtype(column);
    raise_unless_ok(dtype.status());
    const auto input = rows_input(rows);
    py::array values(py::dtype(name_of(dtype.value())), std::vector<py::ssize_t>{input.shape(0)});
    const std::span<std::byte> out(static_cast<std::byte*>(values.mutable_data()),
                                   static_cast<std::size_t>(values.nbytes()));
    call_without_gil([&] { return view.gather_column(column, input.rows(), out); });
    return values;
}

py::array_t<std::int64_t> model_versions_of(const IndexView& view, py::handle rows) {
    const auto input = rows_input(rows);
    Output<std::int64_t> versions({input.shape(0)});
    const auto out = versions.span();
    call_without_gil([&] { return view.gather_model_versions(input.rows(), out); });
    return versions.array;
}

py::array_t<float> embeddings(const IndexView& view, py::handle rows) {
    const auto input = rows_input(rows);
    Output<float> vectors({input.shape(0), static_cast<py::ssize_t>(view.dim())});
    const auto out = vectors.span();
    call_without_gil([&] { return view.gather(input.rows(), out); });
    return vectors.array;
}

std::vector<std::int64_t> model_versions(const IndexView& view) {
    const auto versions = view.model_versions();
    raise_unless_ok(versions.status());
    return versions.value();
}

// (number, n_rows, space_id, scale, offset)
using VersionTuple = std::tuple<std::int64_t, std::size_t, std::uint64_t, float, float>;

std::vector<VersionTuple> versions(const IndexView& view) {
    const auto found = view.versions();
    raise_unless_ok(found.status());
    std::vector<VersionTuple> tuples;
    for (const ModelVersion& version : found.value()) {
        tuples.emplace_back(version.number, version.n_rows, version.space_id, version.scale, version.offset);
    }
    return tuples;
}

template <auto Property>
auto value_of(const IndexView& view) {
    return (view.*Property)();
}

}  // namespace

template <class Face>
void bind_reads(py::class_<Face>& face) {
    face.def("__len__", method<Face>(&value_of<&IndexView::size>))
        .def_property_readonly("n_rows", method<Face>(&value_of<&IndexView::n_rows>))
        .def_property_readonly("dim", method<Face>(&value_of<&IndexView::dim>))
        .def_property_readonly(
            "dtype", [](const Face& self) { return name_of(method<Face>(&value_of<&IndexView::dtype>)(self)); })
        .def_property_readonly("rescores", method<Face>(&value_of<&IndexView::rescores>))
        .def_property_readonly("model_version", method<Face>(&value_of<&IndexView::model_version>))
        .def_property_readonly("model_versions", method<Face>(&model_versions))
        .def_property_readonly("versions", method<Face>(&versions))
        .def_property_readonly("generation", method<Face>(&value_of<&IndexView::generation>))
        .def_property_readonly("n_lists", method<Face>(&value_of<&IndexView::n_lists>))
        .def_property_readonly("bytes", method<Face>(&value_of<&IndexView::bytes>))
        .def_property_readonly("column_types", method<Face>(&column_types))
        .def_property_readonly("code_columns", method<Face>(&code_columns))
        .def("table", method<Face>(&table))
        .def("save", method<Face>(&save))
        .def("lookup", method<Face>(&lookup), py::arg("ids"), py::arg("known") = py::none())
        .def("gather", method<Face>(&gather))
        .def("model_versions_of", method<Face>(&model_versions_of))
        .def("embeddings", method<Face>(&embeddings));
    bind_searches(face);
    bind_selections(face);
}

template void bind_reads(py::class_<ItemIndex>& face);
template void bind_reads(py::class_<HeldView>& face);

}  // namespace karec::python
