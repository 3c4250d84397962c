// NumPy arrays at the boundary: what comes in is checked and, where its dtype or layout differs, converted; what goes
// out is allocated here and filled by the library.
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

// Raises what a Status says: ValueError, karec.errors.IndexFormatError, OSError or MemoryError.
void raise_unless_ok(const Status& status);

// A checked input. `array` keeps the memory alive while `data` is used, which no longer needs the GIL.
template <class T>
struct Input {
    py::array array;

    std::span<const T> span() const {
        return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.size())};
    }
    py::ssize_t shape(py::ssize_t axis) const { return array.shape(axis); }
};

// A dimension of an expected shape, by its size or, when any size will do, by its letter.
struct Dim {
    Dim(py::ssize_t exact) : size(exact) {}
    Dim(const char* any) : letter(any) {}
    py::ssize_t size = -1;
    const char* letter = "";
};

std::string shape_of(const py::array& array);

// In the dtype that it has: C-contiguous, aligned, in this machine's byte order. No copy if the array is so already.
py::array readable(const py::array& array);

// C-contiguous float32 (int64, int32) of the expected shape; no copy if the array is so already. `because` is appended
// to the message about a wrong shape. Integers become float32, but floats never become integers.
Input<float> float32_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                           const std::string& because = "");
Input<double> float64_input(py::handle value, const char* name, const std::vector<Dim>& expected);
Input<std::int64_t> int64_input(py::handle value, const char* name, const std::vector<Dim>& expected,
                                const std::string& because = "");
// Rows, with the generation that karec's own arrays of rows say (their attribute `generation`); 0 = not said.
struct RowsInput : Input<std::int32_t> {
    std::uint64_t generation = 0;
    Rows rows() const { return {span(), generation}; }
};
RowsInput rows_input(py::handle value);
Input<bool> bool_input(py::handle value, const char* name, const std::vector<Dim>& expected);

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

// Of the lists that indptr bounds among n entries; whether it does is the library's to check.
std::size_t longest_list(std::span<const std::int64_t> indptr, std::size_t n);

// A read-only view of memory that `owner` keeps alive.
py::array view_of(DType dtype, std::span<const std::byte> bytes, py::handle owner);
std::optional<DType> dtype_of(const py::array& array);

// k as a size; ValueError unless it is positive.
std::size_t positive(py::ssize_t value, const char* name);

}  // namespace karec::python
