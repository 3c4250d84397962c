#include "diversity/vector_rows.hpp"

#include <algorithm>
#include <cmath>

#include "base/checks.hpp"
#include "index/row_format.hpp"
#include "kernels/kernels.hpp"

namespace karec {

const float* VectorRows::floats(std::size_t row, float* scratch) const noexcept {
    if (dtype == DType::float32) return reinterpret_cast<const float*>(at(row));
    RowFormat{cols, dtype}.decode(at(row), scales[row], scratch);
    return scratch;
}

Result<std::vector<double>> finite_squared_norms(const VectorRows& rows, const char* name) {
    const MatrixView matrix{rows.first, rows.rows, rows.cols, rows.dtype};
    const bool trusted = !rows.places.empty();  // an index holds finite vectors alone
    if (!trusted && rows.dtype == DType::float16) {
        if (Status status = check_finite(matrix, name); !status.ok())
            return status;  // squared_norms_float16 takes finite rows alone
    }
    constexpr std::size_t kAtOnce = 256;
    std::vector<double> norms(rows.rows);
    std::vector<float> scratch(rows.dtype == DType::int8 ? kAtOnce * rows.cols : 0);
    const Kernels& loops = kernels();
    for (std::size_t begin = 0; begin < rows.rows; begin += kAtOnce) {
        const std::size_t n = std::min(kAtOnce, rows.rows - begin);
        const void* places[kAtOnce];
        for (std::size_t i = 0; i < n; ++i) {
            places[i] = rows.dtype == DType::int8 ? rows.floats(begin + i, &scratch[i * rows.cols])
                                                  : static_cast<const void*>(rows.at(begin + i));
        }
        const auto of = rows.dtype == DType::float16 ? loops.squared_norms_float16 : loops.squared_norms_float32;
        of(places, n, rows.cols, &norms[begin]);
    }
    // Squares of floats do not overflow float64: a norm is finite exactly where its row is.
    if (!trusted && !std::all_of(norms.begin(), norms.end(), [](double x) { return std::isfinite(x); })) {
        return check_finite(matrix, name);
    }
    return norms;
}

void scaled_row(const VectorRows& rows, std::size_t row, double factor, std::span<double> out) {
    if (rows.dtype == DType::float16) {
        constexpr std::size_t kAtOnce = 64;
        const auto* from = reinterpret_cast<const std::uint16_t*>(rows.at(row));
        float some[kAtOnce];
        for (std::size_t first = 0; first < rows.cols; first += kAtOnce) {
            const std::size_t n = std::min(kAtOnce, rows.cols - first);
            kernels().widen(from + first, n, some);
            for (std::size_t d = 0; d < n; ++d) out[first + d] = factor * static_cast<double>(some[d]);
        }
        return;
    }
    std::vector<float> scratch(rows.dtype == DType::int8 ? rows.cols : 0);
    const float* from = rows.floats(row, scratch.data());
    for (std::size_t d = 0; d < rows.cols; ++d) out[d] = factor * static_cast<double>(from[d]);
}

}  // namespace karec
