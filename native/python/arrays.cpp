#include "arrays.hpp"

#include <algorithm>
#include <cstring>

namespace karec::python {
namespace {

using NumpyApi = py::detail::npy_api;

// Any layout; or C-contiguous, aligned and of the base class.
constexpr int kAnyLayout = 0;
constexpr int kReadable = NumpyApi::NPY_ARRAY_C_CONTIGUOUS_ | NumpyApi::NPY_ARRAY_ALIGNED_ |
                          NumpyApi::NPY_ARRAY_ENSUREARRAY_ | NumpyApi::NPY_ARRAY_FORCECAST_;

// NumPy's exception if there is no such array, as MemoryError. `dtype` may be null: that of the value.
py::array convert(py::handle value, py::handle dtype, int layout) {
    PyObject* descr = dtype.inc_ref().ptr();  // PyArray_FromAny takes the reference
    PyObject* array = NumpyApi::get().PyArray_FromAny_(value.ptr(), descr, 0, 0, layout, nullptr);
    if (array == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::array>(array);
}

template <class T>
Input<T> to_input(const py::array& array) {
    constexpr int kFlags = NumpyApi::NPY_ARRAY_C_CONTIGUOUS_ | NumpyApi::NPY_ARRAY_ALIGNED_;
    const py::dtype dtype = py::dtype::of<T>();
    const bool is_readable = Py_TYPE(array.ptr()) == NumpyApi::get().PyArray_Type_ && array.dtype().is(dtype) &&
                             (array.flags() & kFlags) == kFlags;
    return Input<T>(is_readable ? array : convert(array, dtype, kReadable));
}

// float64 values that float32 cannot hold become infinite, which the library rejects; NumPy would warn of them.
py::array to_float32(const py::array& array) {
    if (array.dtype().kind() != 'f' || array.itemsize() <= 4) return to_input<float>(array).array;
    const auto wide = to_input<double>(array);
    Output<float> narrow({array.shape(), array.shape() + array.ndim()});
    std::ranges::transform(wide.span(), narrow.span().begin(), [](double x) { return static_cast<float>(x); });
    return narrow.array;
}

py::array to_readable(const py::array& array) {
    return convert(array, array.dtype().attr("newbyteorder")("="), kReadable);
}

std::string dtype_name(const py::array& array) {
    return py::str(array.dtype()).cast<std::string>();
}

std::string expected_shape(const std::vector<Dim>& expected) {
    std::string text = "(";
    for (std::size_t axis = 0; axis < expected.size(); ++axis) {
        if (axis > 0) text += ", ";
        text += expected[axis].letter != nullptr ? expected[axis].letter : std::to_string(expected[axis].size);
    }
    return text + (expected.size() == 1 ? ",)" : ")");
}

void check_shape(const py::array& array, const char* name, const std::vector<Dim>& expected, const Reason& reason) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(expected.size());
    for (std::size_t axis = 0; fits && axis < expected.size(); ++axis) {
        fits = expected[axis].fits(array.shape(static_cast<py::ssize_t>(axis)));
    }
    if (fits) return;
    throw py::value_error(std::string(name) + " has shape " + shape_of(array) + ", expected " +
                          expected_shape(expected) + (reason.is_empty() ? "" : " as " + reason.text()));
}

// NumPy gives an empty list the dtype float64: empty arrays of any dtype pass.
void check_kind(const py::array& array, const char* name, const char* kinds, const char* expected) {
    if (array.size() == 0 || std::strchr(kinds, array.dtype().kind()) != nullptr) return;
    throw py::value_error(std::string(name) + " has dtype " + dtype_name(array) + " and shape " + shape_of(array) +
                          ", expected " + expected);
}

py::array to_checked_array(py::handle value, const char* name, const std::vector<Dim>& shape, const Reason& reason,
                           const char* kinds, const char* dtype) {
    py::array array = to_array(value, name);
    check_shape(array, name, shape, reason);
    check_kind(array, name, kinds, dtype);
    return array;
}

// Kinds that become int64 without a loss, by the size of the element.
const char* integer_kinds(const py::array& array) {
    return array.itemsize() == 8 ? "i" : "iu";
}

std::optional<DType> dtype_of(const py::array& array) {
    const auto name = array.dtype().attr("name").cast<std::string>();
    for (auto type = DType::int8; size_of(type) != 0; type = static_cast<DType>(static_cast<int>(type) + 1)) {
        if (name == name_of(type)) return type;
    }
    return std::nullopt;
}

// `name` of karec.errors.
[[noreturn]] void raise_karec_error(const char* name, const Status& status) {
    PyErr_SetString(py::module_::import("karec.errors").attr(name).ptr(), status.message().c_str());
    throw py::error_already_set();
}

}  // namespace

void raise_unless_ok(const Status& status) {
    switch (status.code()) {
        case Code::ok:
            return;
        case Code::invalid_argument:
            throw py::value_error(status.message());
        case Code::bad_format:
            raise_karec_error("IndexFormatError", status);
        case Code::io_error: {
            const py::tuple args = py::make_tuple(status.system_error(), status.message());
            PyErr_SetObject(PyExc_OSError, args.ptr());
            throw py::error_already_set();
        }
        case Code::out_of_memory:
            throw std::bad_alloc();
        case Code::unavailable:
            raise_karec_error("Unavailable", status);
    }
}

std::string Reason::text() const {
    return name_ == nullptr ? text_
                            : std::string(name_) + " has shape " + shape_of(py::reinterpret_borrow<py::array>(array_));
}

std::string shape_of(const py::array& array) {
    return py::str(array.attr("shape")).cast<std::string>();
}

py::array to_array(py::handle value, const char* name) {
    if (py::isinstance<py::array>(value)) return py::reinterpret_borrow<py::array>(value);
    try {
        return convert(value, {}, kAnyLayout);
    } catch (py::error_already_set& error) {
        if (!error.matches(PyExc_ValueError) && !error.matches(PyExc_TypeError)) throw;
        const std::string reason = py::str(error.value()).cast<std::string>();
        py::raise_from(error, PyExc_ValueError, (std::string(name) + " is not an array: " + reason).c_str());
        throw py::error_already_set();
    }
}

Input<float> float32_input(py::handle value, const char* name, const std::vector<Dim>& expected, const Reason& reason) {
    return Input<float>(to_float32(to_checked_array(value, name, expected, reason, "fiub", "float32")));
}

Input<double> float64_input(py::handle value, const char* name, const std::vector<Dim>& expected) {
    return to_input<double>(to_checked_array(value, name, expected, {}, "fiub", "float64"));
}

Input<std::int64_t> int64_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                                const Reason& reason) {
    const py::array array = to_array(value, name);
    return to_input<std::int64_t>(to_checked_array(array, name, expected, reason, integer_kinds(array), "int64"));
}

Input<std::int64_t> key_input(py::handle value, const char* name) {
    return to_input<std::int64_t>(to_checked_array(value, name, {"N"}, {}, "iu", "integers"));
}

RowsInput rows_input(py::handle value) {
    const py::array array = to_array(value, "rows");
    std::uint64_t generation = 0;
    if (Py_TYPE(array.ptr()) != NumpyApi::get().PyArray_Type_) {
        generation = cast_argument<std::uint64_t>(py::getattr(array, "generation", py::int_(0)), "rows.generation");
    }
    to_checked_array(array, "rows", {"N"}, {}, integer_kinds(array), "int32");
    if (array.dtype().kind() != 'i' || array.itemsize() > 4) {
        const Input<std::int64_t> wide = to_input<std::int64_t>(array);
        const auto values = wide.span();
        for (std::size_t i = 0; i < values.size(); ++i) {
            if (values[i] == static_cast<std::int32_t>(values[i])) continue;
            throw py::value_error("rows holds " + std::to_string(values[i]) + " at position " + std::to_string(i) +
                                  ", expected int32");
        }
    }
    return {to_input<std::int32_t>(array), generation};
}

Input<std::uint32_t> code_input(py::handle value, const std::string& name, Dim expected, const Reason& reason) {
    const py::array array = to_checked_array(value, name.c_str(), {expected}, reason, "iu", "uint32");
    if (array.dtype().kind() == 'u' && array.itemsize() <= 4) return to_input<std::uint32_t>(array);
    const Input<std::int64_t> wide = to_input<std::int64_t>(array);
    const auto values = wide.span();
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (values[i] == static_cast<std::uint32_t>(values[i])) continue;
        throw py::value_error(name + " holds " + std::to_string(values[i]) + " at position " + std::to_string(i) +
                              ", expected uint32");
    }
    return to_input<std::uint32_t>(wide.array);
}

Input<std::uint8_t> bool_input(py::handle value, const char* name, const std::vector<Dim>& expected) {
    return Input<std::uint8_t>(to_input<bool>(to_checked_array(value, name, expected, {}, "b", "bool")).array);
}

Input<std::uint8_t> byte_input(py::handle value, const char* name) {
    const py::array array = to_array(value, name);
    return to_input<std::uint8_t>(to_checked_array(array, name, {"B"}, {}, array.itemsize() == 1 ? "u" : "", "uint8"));
}

MatrixInput matrix_input(py::handle value, const char* name, const std::vector<Dim>& expected, const Reason& reason) {
    py::array array = to_checked_array(value, name, expected, reason, "fiub", "float32 or float16");
    const bool is_float16 = array.dtype().kind() == 'f' && array.itemsize() == 2;
    array = is_float16 ? to_readable(array) : to_float32(array);
    const MatrixView view{array.data(), static_cast<std::size_t>(array.shape(0)),
                          static_cast<std::size_t>(array.shape(1)), is_float16 ? DType::float16 : DType::float32};
    return {std::move(array), view};
}

ColumnInput column_input(py::handle value, const std::string& name, Dim expected, const Reason& reason) {
    const py::array given = to_array(value, name.c_str());
    check_shape(given, name.c_str(), {expected}, reason);
    const auto dtype = dtype_of(given);
    if (!dtype) {
        throw py::value_error(name + " has dtype " + dtype_name(given) +
                              ", expected an integer, floating or boolean one");
    }
    py::array array = to_readable(given);
    const auto bytes = static_cast<std::size_t>(array.nbytes());
    const Column view{"column", *dtype, {static_cast<const std::byte*>(array.data()), bytes}};
    return {std::move(array), view};
}

py::array view_of(DType dtype, std::span<const std::byte> bytes, py::handle owner) {
    const auto n = static_cast<py::ssize_t>(bytes.size() / size_of(dtype));
    py::array view(py::dtype(name_of(dtype)), {n}, bytes.data(), owner);
    view.attr("setflags")(py::arg("write") = false);
    return view;
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
