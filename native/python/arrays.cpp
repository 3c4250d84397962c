#include "arrays.hpp"

#include <algorithm>
#include <cstring>

namespace karec::python {
namespace {

constexpr int kInOrder =
    static_cast<int>(py::array::c_style) | static_cast<int>(py::detail::npy_api::NPY_ARRAY_ALIGNED_);
constexpr int kReadable = kInOrder | py::array::forcecast;

py::array as_array(py::handle value) {
    if (py::isinstance<py::array>(value)) return py::reinterpret_borrow<py::array>(value);
    return py::module_::import("numpy").attr("asarray")(value);
}

std::string expected_shape(const std::vector<Dim>& expected) {
    std::string text = "(";
    for (std::size_t axis = 0; axis < expected.size(); ++axis) {
        if (axis > 0) text += ", ";
        text += expected[axis].letter != nullptr ? expected[axis].letter : std::to_string(expected[axis].size);
    }
    return text + (expected.size() == 1 ? ",)" : ")");
}

void check_shape(const py::array& array, const char* name, const std::vector<Dim>& expected,
                 const std::string& because) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(expected.size());
    for (std::size_t axis = 0; fits && axis < expected.size(); ++axis) {
        fits = expected[axis].fits(array.shape(static_cast<py::ssize_t>(axis)));
    }
    if (fits) return;
    throw py::value_error(std::string(name) + " has shape " + shape_of(array) + ", expected " +
                          expected_shape(expected) + (because.empty() ? "" : " as " + because));
}

// NumPy gives an empty list the dtype float64: empty arrays of any dtype pass.
void check_kind(const py::array& array, const char* name, const char* kinds, const char* expected) {
    if (array.size() == 0 || std::strchr(kinds, array.dtype().kind()) != nullptr) return;
    throw py::value_error(std::string(name) + " has dtype " + py::str(array.dtype()).cast<std::string>() +
                          " and shape " + shape_of(array) + ", expected " + expected);
}

template <class T>
Input<T> convert(const py::array& array) {
    auto converted = py::array_t<T, kReadable>::ensure(array);
    if (!converted) throw py::error_already_set();
    return {std::move(converted)};
}

}  // namespace

void raise_unless_ok(const Status& status) {
    switch (status.code()) {
        case Code::ok:
            return;
        case Code::invalid_argument:
            throw py::value_error(status.message());
        case Code::bad_format: {
            const py::object error = py::module_::import("karec.errors").attr("IndexFormatError");
            PyErr_SetString(error.ptr(), status.message().c_str());
            throw py::error_already_set();
        }
        case Code::io_error: {
            const py::tuple args = py::make_tuple(status.system_error(), status.message());
            PyErr_SetObject(PyExc_OSError, args.ptr());
            throw py::error_already_set();
        }
        case Code::out_of_memory:
            throw std::bad_alloc();
        case Code::unavailable: {
            const py::object error = py::module_::import("karec.errors").attr("Unavailable");
            PyErr_SetString(error.ptr(), status.message().c_str());
            throw py::error_already_set();
        }
    }
}

std::string shape_of(const py::array& array) {
    return py::str(array.attr("shape")).cast<std::string>();
}

py::array readable(const py::array& array) {
    const py::dtype dtype = array.dtype();
    const bool native = dtype.attr("isnative").cast<bool>();
    const py::object ours = native ? py::object(array) : array.attr("astype")(dtype.attr("newbyteorder")("="));
    py::array plain = py::array::ensure(ours, kInOrder);
    if (!plain) throw py::error_already_set();
    return plain;
}

Input<float> float32_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                           const std::string& because) {
    py::array array = as_array(value);
    check_shape(array, name, expected, because);
    check_kind(array, name, "fiub", "float32");
    return convert<float>(array);
}

Input<double> float64_input(py::handle value, const char* name, const std::vector<Dim>& expected) {
    py::array array = as_array(value);
    check_shape(array, name, expected, "");
    check_kind(array, name, "fiub", "float64");
    return convert<double>(array);
}

Input<std::int64_t> int64_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                                const std::string& because) {
    py::array array = as_array(value);
    check_shape(array, name, expected, because);
    check_kind(array, name, array.itemsize() == 8 ? "i" : "iu", "int64");
    return convert<std::int64_t>(array);
}

RowsInput rows_input(py::handle value) {
    py::array array = as_array(value);
    std::uint64_t generation = 0;
    if (Py_TYPE(array.ptr()) != py::detail::npy_api::get().PyArray_Type_) {
        generation = py::getattr(array, "generation", py::int_(0)).cast<std::uint64_t>();
    }
    check_shape(array, "rows", {"N"}, "");
    check_kind(array, "rows", array.itemsize() == 8 ? "i" : "iu", "int32");
    if (array.dtype().kind() != 'i' || array.itemsize() > 4) {
        const Input<std::int64_t> wide = convert<std::int64_t>(array);
        const auto values = wide.span();
        for (std::size_t i = 0; i < values.size(); ++i) {
            if (values[i] == static_cast<std::int32_t>(values[i])) continue;
            throw py::value_error("rows holds " + std::to_string(values[i]) + " at position " + std::to_string(i) +
                                  ", expected int32");
        }
    }
    return {convert<std::int32_t>(array), generation};
}

Input<std::uint8_t> bool_input(py::handle value, const char* name, const std::vector<Dim>& expected) {
    py::array array = as_array(value);
    check_shape(array, name, expected, "");
    check_kind(array, name, "b", "bool");
    return {convert<bool>(array).array};
}

MatrixInput matrix_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                         const std::string& because) {
    py::array array = as_array(value);
    check_shape(array, name, expected, because);
    check_kind(array, name, "fiub", "float32 or float16");
    const auto rows = static_cast<std::size_t>(array.shape(0));
    const auto cols = static_cast<std::size_t>(array.shape(1));
    if (array.dtype().kind() == 'f' && array.itemsize() == 2) {
        array = readable(array);  // pybind11 knows no float16: its bits are passed on
        return {array, {array.data(), rows, cols, DType::float16}};
    }
    array = convert<float>(array).array;
    return {array, {array.data(), rows, cols, DType::float32}};
}

std::size_t longest_list(std::span<const std::int64_t> indptr, std::size_t n) {
    std::size_t longest = 0;
    for (std::size_t u = 1; u < indptr.size(); ++u) {
        if (indptr[u] <= indptr[u - 1]) continue;
        longest = std::max(longest, static_cast<std::size_t>(indptr[u]) - static_cast<std::size_t>(indptr[u - 1]));
    }
    return std::min(longest, n);
}

py::array view_of(DType dtype, std::span<const std::byte> bytes, py::handle owner) {
    const auto n = static_cast<py::ssize_t>(bytes.size() / size_of(dtype));
    py::array view(py::dtype(name_of(dtype)), {n}, bytes.data(), owner);
    view.attr("setflags")(py::arg("write") = false);
    return view;
}

std::optional<DType> dtype_of(const py::array& array) {
    const auto name = array.dtype().attr("name").cast<std::string>();
    for (auto type = DType::int8; size_of(type) != 0; type = static_cast<DType>(static_cast<int>(type) + 1)) {
        if (name == name_of(type)) return type;
    }
    return std::nullopt;
}

std::size_t positive(py::ssize_t value, const char* name) {
    if (value <= 0) throw py::value_error(std::string(name) + " must be positive, got " + std::to_string(value));
    return static_cast<std::size_t>(value);
}

std::size_t size_up_to(std::size_t max, py::ssize_t value, const char* name) {
    if (value >= 0 && static_cast<std::size_t>(value) <= max) return static_cast<std::size_t>(value);
    throw py::value_error(std::string(name) + " is " + std::to_string(value) + ", expected 0 to " +
                          std::to_string(max));
}

}  // namespace karec::python
