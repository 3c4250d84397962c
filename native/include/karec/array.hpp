// Element types, and MatrixView: a matrix that the caller owns.
#pragma once

#include <cstddef>
#include <cstdint>

namespace karec {

// Index files store these numbers, so they never change.
enum class DType : std::uint32_t {
    int8 = 1,
    int16 = 2,
    int32 = 3,
    int64 = 4,
    uint8 = 5,
    uint16 = 6,
    uint32 = 7,
    uint64 = 8,
    float16 = 9,
    float32 = 10,
    float64 = 11,
    boolean = 12,
};

// Bytes of one element; 0 for an unknown type.
constexpr std::size_t size_of(DType type) noexcept {
    switch (type) {
        case DType::int8:
        case DType::uint8:
        case DType::boolean:
            return 1;
        case DType::int16:
        case DType::uint16:
        case DType::float16:
            return 2;
        case DType::int32:
        case DType::uint32:
        case DType::float32:
            return 4;
        case DType::int64:
        case DType::uint64:
        case DType::float64:
            return 8;
    }
    return 0;
}

// NumPy's name of the type, for messages; "?" for an unknown type.
constexpr const char* name_of(DType type) noexcept {
    switch (type) {
        case DType::int8:
            return "int8";
        case DType::int16:
            return "int16";
        case DType::int32:
            return "int32";
        case DType::int64:
            return "int64";
        case DType::uint8:
            return "uint8";
        case DType::uint16:
            return "uint16";
        case DType::uint32:
            return "uint32";
        case DType::uint64:
            return "uint64";
        case DType::float16:
            return "float16";
        case DType::float32:
            return "float32";
        case DType::float64:
            return "float64";
        case DType::boolean:
            return "bool";
    }
    return "?";
}

// A C-contiguous (rows, cols) matrix of float16 or float32, read only, owned by the caller.
struct MatrixView {
    const void* data = nullptr;
    std::size_t rows = 0;
    std::size_t cols = 0;
    DType dtype = DType::float32;
};

}  // namespace karec
