// Reads NumPy files of format 1.0: one array of numbers (.npy), or several in an archive without compression (.npz).
//
// Declared sizes are compared with the bytes, so that no array ends outside of them. Checksums of members are not
// compared: the manifest of a bundle has those of its files. All errors are bad_format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/half.hpp"
#include "base/json.hpp"
#include "base/regular_file.hpp"
#include "karec/array.hpp"
#include "karec/status.hpp"

namespace karec {

// An array in C order, at any address. The caller owns the bytes.
struct NpyArray {
    DType dtype = DType::float32;
    std::vector<std::size_t> shape;
    std::span<const std::byte> bytes;

    // Elements of an array of one axis; 0 for other arrays.
    std::size_t size() const noexcept { return shape.size() == 1 ? shape[0] : 0; }
    bool is_integer() const noexcept { return dtype >= DType::int8 && dtype <= DType::uint64; }
    bool is_floating() const noexcept { return dtype >= DType::float16 && dtype <= DType::float64; }

    template <class T>
    T at(std::size_t i) const noexcept {
        T value;
        std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
        return value;
    }
    std::int64_t integer(std::size_t i) const noexcept;  // of integers; a uint64 wraps
    double real(std::size_t i) const noexcept;           // of floats
};

// `bytes`: a whole .npy file. Dtypes are those of karec, little-endian; arrays of several axes are in C order.
Result<NpyArray> read_npy(std::span<const std::byte> bytes);

// The arrays of a .npz file by name, the member's without ".npy".
using NpyArrays = std::vector<std::pair<std::string, NpyArray>>;
Result<NpyArrays> read_npz(std::span<const std::byte> bytes);

// nullptr if there is no such array.
const NpyArray* find_array(const NpyArrays& arrays, std::string_view name) noexcept;

// The JSON whose bytes are the array "head".
Result<Json> read_head(const NpyArrays& arrays);

}  // namespace karec
