// NumPy arrays at the boundary. An input is checked, converted if its dtype or layout differs, and read at one address
// from then on: Python code that changes the array object afterwards has no effect. An output is allocated here and
// filled by the library. Errors are ValueError or TypeError with the argument's name.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "karec/array.hpp"
#include "karec/index_view.hpp"
#include "karec/status.hpp"

namespace karec::python {

namespace py = pybind11;

// Raises the exception for a Status: ValueError, OSError, MemoryError, or karec.errors.IndexFormatError, Unavailable.
void raise_unless_ok(const Status& status);

// Returns the value of call() (nothing if it is a Status), which runs without the GIL. Raises its error.
template <class Call>
auto call_without_gil(Call&& call) {
    auto result = [&] {
        const py::gil_scoped_release release;
        return call();
    }();
    if constexpr (std::is_same_v<decltype(result), Status>) {
        raise_unless_ok(result);
    } else {
        raise_unless_ok(result.status());
        return std::move(result.value());
    }
}

// Converts an argument; TypeError with its name if that is impossible. The type caster of T must be included.
template <class T>
T cast_argument(py::handle value, const char* name) {
    try {
        return value.cast<T>();
    } catch (const py::cast_error&) {
        throw py::type_error(std::string(name) +
                             " has a value of the wrong type: " + py::repr(value).cast<std::string>().substr(0, 80));
    }
}

// The array of a NumPy array-like object. Shape and dtype are not checked.
py::array to_array(py::handle value, const char* name);

std::string shape_of(const py::array& array);

// An axis of an expected shape: its size, or a letter if any size fits.
struct Dim {
    Dim(py::ssize_t exact) : size(exact) {}
    Dim(const char* any) : letter(any) {}
    bool fits(py::ssize_t actual) const { return letter != nullptr || actual == size; }
    py::ssize_t size = 0;
    const char* letter = nullptr;
};

// Why an input must have its shape, for messages; as a text, or as "NAME has shape SHAPE". The second is written only
// for a message: it takes longer than the check.
class Reason {
  public:
    Reason() = default;
    Reason(std::string text) : text_(std::move(text)) {}
    Reason(const char* name, py::array array) : name_(name), array_(std::move(array)) {}
    bool is_empty() const { return name_ == nullptr && text_.empty(); }
    std::string text() const;

  private:
    std::string text_;
    const char* name_ = nullptr;
    py::object array_;  // not py::array: its default is a new array
};

// A checked input of at most 3 axes. `array` keeps the memory alive; the span may be used without the GIL.
template <class T>
class Input {
  public:
    Input() = default;
    explicit Input(py::array source) : array(std::move(source)) {
        for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
            shape_.at(static_cast<std::size_t>(axis)) = array.shape(axis);
        }
        values_ = {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.size())};
    }

    std::span<const T> span() const { return values_; }
    py::ssize_t shape(std::size_t axis) const { return shape_.at(axis); }
    bool overlaps(std::span<const std::byte> output) const {
        const auto input = std::as_bytes(values_);
        const std::less<> is_before;  // a total order of pointers
        return !input.empty() && !output.empty() && is_before(input.data(), output.data() + output.size()) &&
               is_before(output.data(), input.data() + input.size());
    }

    py::array array;

  private:
    std::array<py::ssize_t, 3> shape_{};
    std::span<const T> values_;
};

// Inputs that are C-contiguous, aligned and in native byte order; no copy if the array is so already. `reason` is
// appended to the message about a wrong shape. Integers become floats, but floats never become integers.
Input<float> float32_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                           const Reason& reason = {});
Input<double> float64_input(py::handle value, const char* name, const std::vector<Dim>& expected);
Input<std::int64_t> int64_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                                const Reason& reason = {});
// (N,) integers of any type as keys of a table: uint64 wraps around.
Input<std::int64_t> key_input(py::handle value, const char* name);
// The bytes of a bool array: 0 is false, any other value is true. NumPy lets a caller store any byte, and a C++ `bool`
// of another value than 0 and 1 is undefined.
Input<std::uint8_t> bool_input(py::handle value, const char* name, const std::vector<Dim>& expected);

// uint32, or other integers that are in its range.
Input<std::uint32_t> code_input(py::handle value, const std::string& name, Dim expected, const Reason& reason = {});

// (N,) uint8.
Input<std::uint8_t> byte_input(py::handle value, const char* name);

// Rows, and the generation that they were found in: the attribute `generation` of karec's own arrays; 0 = unknown.
struct RowsInput : Input<std::int32_t> {
    std::uint64_t generation = 0;
    Rows rows() const { return {span(), generation}; }
};
RowsInput rows_input(py::handle value);

// (N, D) float32, or float16 without conversion.
struct MatrixInput {
    py::array array;
    MatrixView view;
};
MatrixInput matrix_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                         const Reason& reason = {});

// (N,) integers, floats or booleans in their own dtype.
struct ColumnInput {
    py::array array;
    Column view;  // its name is the caller's
};
ColumnInput column_input(py::handle value, const std::string& name, Dim expected, const Reason& reason = {});

// A new array, and its elements.
template <class T>
struct Output {
    explicit Output(std::vector<py::ssize_t> shape) : array(std::move(shape)) {}
    std::span<T> span() { return {array.mutable_data(), static_cast<std::size_t>(array.size())}; }
    py::array_t<T> array;
};

// A read-only view of memory that `owner` keeps alive.
py::array view_of(DType dtype, std::span<const std::byte> bytes, py::handle owner);

// k as a size; ValueError unless it is positive.
std::size_t positive(py::ssize_t value, const char* name);
// `value` as a size; ValueError unless it is 0 to `max`.
std::size_t size_up_to(std::size_t max, py::ssize_t value, const char* name);

}  // namespace karec::python
