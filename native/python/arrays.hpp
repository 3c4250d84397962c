// NumPy arrays at the boundary: inputs are checked and, where dtype or layout differ, converted; outputs are allocated
// here and filled by the library.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "karec/array.hpp"
#include "karec/index_view.hpp"
#include "karec/status.hpp"

namespace karec::python {

namespace py = pybind11;

// Raises the exception for a Status: ValueError, OSError, MemoryError, or karec.errors.IndexFormatError, Unavailable.
void raise_unless_ok(const Status& status);

// A checked input. `array` keeps the memory alive; the span is used without the GIL.
template <class T>
struct Input {
    py::array array;

    std::span<const T> span() const {
        return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.size())};
    }
    py::ssize_t shape(py::ssize_t axis) const { return array.shape(axis); }
};

// An axis of an expected shape: its size, or a letter if any size fits.
struct Dim {
    Dim(py::ssize_t exact) : size(exact) {}
    Dim(const char* any) : letter(any) {}
    bool fits(py::ssize_t found) const { return letter != nullptr || found == size; }
    py::ssize_t size = 0;
    const char* letter = nullptr;
};

std::string shape_of(const py::array& array);

// The array in its own dtype: C-contiguous, aligned, in native byte order. No copy if it is so already.
py::array readable(const py::array& array);

// C-contiguous float32 (int64, int32) of the expected shape; no copy if the array is so already. `because` is appended
// to the message about a wrong shape. Integers become float32, but floats never become integers.
Input<float> float32_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                           const std::string& because = "");
Input<double> float64_input(py::handle value, const char* name, const std::vector<Dim>& expected);
Input<std::int64_t> int64_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                                const std::string& because = "");
// Rows, and the generation that they were found in: the attribute `generation` of karec's own arrays; 0 = unknown.
struct RowsInput : Input<std::int32_t> {
    std::uint64_t generation = 0;
    Rows rows() const { return {span(), generation}; }
};
RowsInput rows_input(py::handle value);
// The bytes of a bool array: 0 is false, any other value is true. They are not read as `bool`, since NumPy lets a
// caller store any byte, and a `bool` of another value than 0 and 1 is undefined.
Input<std::uint8_t> bool_input(py::handle value, const char* name, const std::vector<Dim>& expected);

// (N, D) float32, or float16 as it is.
struct MatrixInput {
    py::array array;
    MatrixView view;
};
MatrixInput matrix_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                         const std::string& because = "");

// A new array of that shape, and its elements.
template <class T>
struct Output {
    explicit Output(std::vector<py::ssize_t> shape) : array(std::move(shape)) {}
    std::span<T> span() { return {array.mutable_data(), static_cast<std::size_t>(array.size())}; }
    py::array_t<T> array;
};

// The length of the longest list, at most n. Does not check the offsets: the library does.
std::size_t longest_list(std::span<const std::int64_t> indptr, std::size_t n);

// A read-only view of memory that `owner` keeps alive.
py::array view_of(DType dtype, std::span<const std::byte> bytes, py::handle owner);
std::optional<DType> dtype_of(const py::array& array);

// k as a size; ValueError unless it is positive.
std::size_t positive(py::ssize_t value, const char* name);
// `value` as a size; ValueError unless it is 0 to `max`.
std::size_t size_up_to(std::size_t max, py::ssize_t value, const char* name);

}  // namespace karec::python
