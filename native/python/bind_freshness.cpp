// Freshness, tone, quota, standardised scores and xxh64 for Python: check, release the GIL, call.
#include "arrays.hpp"
#include "base/regular_file.hpp"
#include "base/xxh64.hpp"
#include "bindings.hpp"
#include "karec/freshness.hpp"

namespace karec::python {
namespace {

// Fills a new array (n,) without the GIL.
template <class T, class Fill>
py::array_t<T> make_array(py::ssize_t n, const Fill& fill) {
    Output<T> output({n});
    const auto values = output.span();
    Status status;
    {
        const py::gil_scoped_release release;
        status = fill(values);
    }
    raise_unless_ok(status);
    return output.array;
}

std::span<std::uint8_t> to_bytes(std::span<bool> mask) {
    return {reinterpret_cast<std::uint8_t*>(mask.data()), mask.size()};
}

py::array_t<float> add_freshness(py::handle scores, const py::object& upload_ms, std::int64_t now_ms, double weight,
                                 double half_life_hours) {
    const auto input = float32_input(scores, "scores", {"N"});
    const ColumnInput column = column_input(upload_ms, "upload_ms", "N");
    return make_array<float>(input.shape(0), [&](std::span<float> out) {
        return freshness(input.span(), column.view, now_ms, weight, half_life_hours, out);
    });
}

py::array_t<bool> select_by_tone(const py::object& values, double at_least) {
    const ColumnInput column = column_input(values, "values", "N");
    return make_array<bool>(column.array.shape(0),
                            [&](std::span<bool> mask) { return tone(column.view, at_least, to_bytes(mask)); });
}

py::array_t<bool> select_by_quota(py::handle scores, const py::object& groups, py::ssize_t at_most) {
    const std::size_t max_count = positive(at_most, "at_most");
    const auto input = float32_input(scores, "scores", {"N"});
    const ColumnInput column = column_input(groups, "groups", "N");
    return make_array<bool>(input.shape(0), [&](std::span<bool> mask) {
        return quota(input.span(), column.view, max_count, to_bytes(mask));
    });
}

py::array_t<float> standardise_array(py::handle scores) {
    const auto input = float32_input(scores, "scores", {"N"});
    return make_array<float>(input.shape(0), [&](std::span<float> out) { return standardise(input.span(), out); });
}

std::uint64_t hash_file(const std::string& path) {
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

void bind_freshness(py::module_& module) {
    module.def("freshness", &add_freshness);
    module.def("tone", &select_by_tone);
    module.def("quota", &select_by_quota);
    module.def("standardise", &standardise_array);
    module.def("xxh64",
               [](const py::bytes& bytes) { return xxh64(std::as_bytes(std::span(std::string_view(bytes)))); });
    module.def("xxh64_of_file", [](const py::bytes& path) { return hash_file(path); });
}

}  // namespace karec::python
