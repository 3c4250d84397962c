// Values of a column of any dtype, read one by one.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/half.hpp"
#include "karec/array.hpp"

namespace karec {

template <class T>
T value_at(const Column& column, std::size_t i) noexcept {
    T value;
    std::memcpy(&value, column.bytes.data() + i * sizeof(T), sizeof(T));
    return value;
}
template <>
inline float value_at<float>(const Column& column, std::size_t i) noexcept {
    if (column.dtype == DType::float16) return half_to_float(value_at<std::uint16_t>(column, i));
    float value;
    std::memcpy(&value, column.bytes.data() + i * sizeof(float), sizeof(float));
    return value;
}
// A bool is 0 or 1: any byte but 0 is true.
template <>
inline std::uint8_t value_at<std::uint8_t>(const Column& column, std::size_t i) noexcept {
    const auto byte = std::to_integer<std::uint8_t>(column.bytes[i]);
    return column.dtype == DType::boolean ? std::uint8_t{byte != 0} : byte;
}

// Calls body(T{}) with the type of the column's values: float for float16.
template <class Body>
void with_type(DType dtype, Body&& body) {
    switch (dtype) {
        case DType::int8:
            return body(std::int8_t{});
        case DType::int16:
            return body(std::int16_t{});
        case DType::int32:
            return body(std::int32_t{});
        case DType::int64:
            return body(std::int64_t{});
        case DType::uint8:
        case DType::boolean:
            return body(std::uint8_t{});
        case DType::uint16:
            return body(std::uint16_t{});
        case DType::uint32:
            return body(std::uint32_t{});
        case DType::uint64:
            return body(std::uint64_t{});
        case DType::float16:
        case DType::float32:
            return body(float{});
        case DType::float64:
            return body(double{});
    }
}

template <class T>
bool is_nan(T value) noexcept {
    if constexpr (std::is_floating_point_v<T>) return std::isnan(value);
    return false;
}

}  // namespace karec
