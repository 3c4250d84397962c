// Freshness, tone, quota, standardised scores and sums for Python: check, release the GIL, call.
#include "arrays.hpp"
#include "base/regular_file.hpp"
#include "base/xxh64.hpp"
#include "bindings.hpp"
#include "karec/ecosystem.hpp"

namespace karec::python {
namespace {

py::array_t<float> with_freshness(py::handle scores, const py::object& upload_ms, std::int64_t now_ms, double weight,
                                  double half_life_hours) {
    const auto given = float32_input(scores, "scores", {"N"});
    const ColumnInput uploaded = column_input(upload_ms, "upload_ms", "N");
    Output<float> out({given.shape(0)});
    const auto to = out.span();
    Status status;
    {
        const py::gil_scoped_release release;
        status = freshness(given.span(), uploaded.view, now_ms, weight, half_life_hours, to);
    }
    raise_unless_ok(status);
    return out.array;
}

std::span<std::uint8_t> bytes_of(Output<bool>& keep) {
    return {reinterpret_cast<std::uint8_t*>(keep.span().data()), keep.span().size()};
}

py::array_t<bool> above_floor(const py::object& values, double at_least) {
    const ColumnInput column = column_input(values, "values", "N");
    Output<bool> keep({column.array.shape(0)});
    const auto to = bytes_of(keep);
    Status status;
    {
        const py::gil_scoped_release release;
        status = tone(column.view, at_least, to);
    }
    raise_unless_ok(status);
    return keep.array;
}

py::array_t<bool> within_quota(py::handle scores, const py::object& groups, py::ssize_t at_most) {
    const std::size_t most = positive(at_most, "at_most");
    const auto given = float32_input(scores, "scores", {"N"});
    const ColumnInput column = column_input(groups, "groups", "N");
    Output<bool> keep({given.shape(0)});
    const auto to = bytes_of(keep);
    Status status;
    {
        const py::gil_scoped_release release;
        status = quota(given.span(), column.view, most, to);
    }
    raise_unless_ok(status);
    return keep.array;
}

py::array_t<float> standardised(py::handle scores) {
    const auto given = float32_input(scores, "scores", {"N"});
    Output<float> out({given.shape(0)});
    const auto to = out.span();
    Status status;
    {
        const py::gil_scoped_release release;
        status = standardise(given.span(), to);
    }
    raise_unless_ok(status);
    return out.array;
}

std::uint64_t sum_of_file(const std::string& path) {
    std::optional<std::uint64_t> sum;
    Status status;
    {
        const py::gil_scoped_release release;
        auto file = MappedFile::open(path);
        status = file.status();
        if (file.ok()) sum = xxh64(file->bytes());
    }
    raise_unless_ok(status);
    return *sum;
}

}  // namespace

void bind_ecosystem(py::module_& module) {
    module.def("freshness", &with_freshness);
    module.def("tone", &above_floor);
    module.def("quota", &within_quota);
    module.def("standardise", &standardised);
    module.def("xxh64",
               [](const py::bytes& bytes) { return xxh64(std::as_bytes(std::span(std::string_view(bytes)))); });
    module.def("xxh64_of_file", [](const py::bytes& path) { return sum_of_file(path); });
}

}  // namespace karec::python
