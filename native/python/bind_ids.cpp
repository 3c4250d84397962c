// StringIds for Python: check, release the GIL, call. Strings are passed as (offsets, text): N + 1 int64, and bytes.
#include <pybind11/stl.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "arrays.hpp"
#include "bindings.hpp"
#include "karec/string_ids.hpp"

namespace karec::python {
namespace {

constexpr std::size_t kBlock = std::size_t{1} << 14;  // names whose text is in the cache until it is copied

struct StringsInput {
    Input<std::int64_t> offsets;
    Input<std::uint8_t> text;

    Strings strings() const {
        const auto bytes = text.span();
        return {offsets.span(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}};
    }
    py::ssize_t size() const { return std::max<py::ssize_t>(offsets.shape(0) - 1, 0); }
};

StringsInput strings_input(py::handle offsets, py::handle text) {
    return {int64_input(offsets, "offsets", {"N"}), byte_input(text, "text")};
}

IdKind to_kind(std::uint32_t kind) {
    if (kind < 1 || kind > 4) throw py::value_error("kind must be 1 to 4, got " + std::to_string(kind));
    return static_cast<IdKind>(kind);
}

void build(py::handle offsets, py::handle text, const std::string& path, std::uint32_t kind) {
    const auto input = strings_input(offsets, text);
    const IdKind id_kind = to_kind(kind);
    call_without_gil([&] { return StringIds::build(input.strings(), path, id_kind); });
}

StringIds open(const std::string& path, bool verify) {
    return call_without_gil([&] { return StringIds::open(path, verify); });
}

template <class T, Status (StringIds::*Call)(const Strings&, std::span<T>) const noexcept>
py::array_t<T> call_with_strings(const StringIds& ids, py::handle offsets, py::handle text) {
    const auto input = strings_input(offsets, text);
    Output<T> out({input.size()});
    const std::span<T> to = out.span();
    call_without_gil([&] { return (ids.*Call)(input.strings(), to); });
    return out.array;
}

// The strings of the numbers as a list of str; None for a number without a string.
py::list names(const StringIds& ids, py::handle numbers) {
    const auto wanted = int64_input(numbers, "numbers", {"N"});
    const auto all = wanted.span();
    py::list list(all.size());
    std::vector<std::string_view> found(std::min(kBlock, all.size()));
    for (std::size_t first = 0; first < all.size(); first += kBlock) {
        const std::size_t n = std::min(kBlock, all.size() - first);
        call_without_gil([&] { return ids.names(all.subspan(first, n), std::span(found).first(n)); });
        for (std::size_t i = 0; i < n; ++i) {
            const auto at = static_cast<py::ssize_t>(first + i);
            if (found[i].empty()) {
                PyList_SET_ITEM(list.ptr(), at, py::none().release().ptr());
                continue;
            }
            PyObject* text =
                PyUnicode_DecodeUTF8(found[i].data(), static_cast<py::ssize_t>(found[i].size()), "replace");
            if (text == nullptr) throw py::error_already_set();
            PyList_SET_ITEM(list.ptr(), at, text);
        }
    }
    return list;
}

// The strings of the numbers as (offsets, text); empty for a number without a string.
py::tuple texts(const StringIds& ids, py::handle numbers) {
    const auto wanted = int64_input(numbers, "numbers", {"N"});
    std::vector<std::string_view> found(wanted.span().size());
    call_without_gil([&] { return ids.names(wanted.span(), found); });
    Output<std::int64_t> offsets({static_cast<py::ssize_t>(found.size()) + 1});
    const auto ends = offsets.span();
    ends[0] = 0;
    for (std::size_t i = 0; i < found.size(); ++i) ends[i + 1] = ends[i] + static_cast<std::int64_t>(found[i].size());
    Output<std::uint8_t> text({static_cast<py::ssize_t>(ends.back())});
    std::uint8_t* to = text.span().data();
    {
        const py::gil_scoped_release release;
        for (const std::string_view name : found) to = std::copy(name.begin(), name.end(), to);
    }
    return py::make_tuple(offsets.array, text.array);
}

}  // namespace

void bind_ids(py::module_& module) {
    py::class_<StringIds>(module, "StringIds")
        .def_static("build", &build)
        .def_static("open", &open)
        .def("__len__", &StringIds::size)
        .def_property_readonly("seed", &StringIds::seed)
        .def_property_readonly("kind", [](const StringIds& ids) { return static_cast<std::uint32_t>(ids.kind()); })
        .def("numbers", &call_with_strings<std::int64_t, &StringIds::numbers>)
        .def("known", &call_with_strings<bool, &StringIds::known>)
        .def("names", &names)
        .def("texts", &texts);
}

}  // namespace karec::python
