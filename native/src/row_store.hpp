// Vectors as rows of float16 or float32, each row padded with zeros to a multiple of 64 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "karec/array.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::size_t kMaxDim = 65536;

struct RowStore {
    const std::byte* base = nullptr;
    std::size_t n = 0;
    std::size_t dim = 0;
    DType dtype = DType::float16;

    std::size_t stride() const noexcept { return (dim * size_of(dtype) + 63) / 64 * 64; }
    std::size_t bytes() const noexcept { return n * stride(); }

    // What a kernel sees: D up to a multiple of 16; rows and queries hold zeros there.
    std::size_t padded_dim() const noexcept { return (dim + 15) / 16 * 16; }

    // out[i] = ⟨query, rows[i]⟩ as InnerLoops defines it; `query` has padded_dim() entries.
    void dot(const float* query, const std::int32_t* rows, std::size_t n_rows, float* out) const noexcept;
    void dot_range(const float* query, std::size_t first, std::size_t n_rows, float* out) const noexcept;

    // out (dim) = row as float32.
    void decode(std::size_t row, float* out) const noexcept;
};

// Writes `matrix` into zeroed rows laid out as `store` says. Refuses NaN, infinity, and what float16 cannot hold.
Status encode_rows(MatrixView matrix, const RowStore& store, std::byte* rows);

// Position "(row, column)" of the first NaN or infinity: refused as "<name> holds …"; ok if there is none.
Status check_finite(MatrixView matrix, const char* name);
Status check_finite(std::span<const float> values, const char* name);

}  // namespace karec
