// RowSums computes the part of a network's first layer that depends on codes and numbers of an item alone.
//
// The output is base + Σ rows of its codes + Σ_f g_f(x_f). A row of the table is a code's embedding times its weights.
// Each g_f is linear between knots: it is interpolated between the rows of two knots, or continues at the row of an end
// plus the distance times a row of slopes. So an item is a weighted sum of rows, in place of a product with a matrix.
//
// Cost     O(N·W·(C + 2·F′)) for N items of C codes and F′ numbers that are not 0, and W columns.
// Bits     float32, rows in order: the same on every instruction set (kernels/kernels.hpp).
// Threads  an object never changes; any number of threads may use one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/buffer.hpp"
#include "karec/status.hpp"

namespace karec {

// Rows of the table, in this order: the base; the codes of each code column; the knots of each number, then its slope.
// g_f(0) is part of the base.
struct RowSumsTable {
    std::span<const std::byte> rows;             // (R, W) float32 at any address, finite
    std::span<const std::int64_t> code_columns;  // (C) columns of an item's codes
    std::span<const std::int64_t> code_sizes;    // (C) rows; other codes have that of code 0
    std::span<const std::int64_t> knot_counts;   // (F)
    std::span<const double> knots;               // ascending for each number
};

class RowSums {
  public:
    struct Output {  // the next `width` columns of the table
        std::string name;
        std::size_t width = 0;
    };
    // Copies the table. `n_codes`: columns of an item's codes. bad_format: lengths that do not fit, columns or sizes
    // outside their range, or numbers that are not finite.
    static Result<RowSums> from_table(const RowSumsTable& table, std::size_t n_codes, std::vector<Output> outputs);

    std::size_t n_codes() const noexcept { return n_codes_; }
    std::size_t n_numbers() const noexcept { return numbers_.size(); }
    std::span<const Output> outputs() const noexcept { return outputs_; }
    std::size_t width() const noexcept { return width_; }
    std::size_t bytes() const noexcept { return n_rows_ * stride_ * sizeof(float); }

    // Writes each output (n, width), one after the other, for codes (n, n_codes) and numbers (n, n_numbers). Throws
    // only std::bad_alloc.
    void sum(std::span<const std::int64_t> codes, std::span<const float> numbers, std::size_t n,
             std::span<float> out) const;

  private:
    struct CodeColumn {
        std::size_t column;
        std::size_t size;
        std::size_t first_row;
    };
    struct Number {
        std::size_t first_knot;
        std::size_t n_knots;
        std::size_t first_row;
    };
    struct RowList;

    Status read_codes(const RowSumsTable& table, std::size_t& n_rows);
    Status read_knots(const RowSumsTable& table, std::size_t& n_rows);
    Status copy_rows(std::span<const std::byte> rows);
    void find_rows(const std::int64_t* codes, const float* numbers, RowList& list) const noexcept;
    void add_number(std::size_t f, float x, RowList& list) const noexcept;
    const float* row(std::size_t r) const noexcept { return rows_ + r * stride_; }

    std::size_t n_codes_ = 0;
    std::vector<Output> outputs_;
    std::size_t width_ = 0;
    std::size_t stride_ = 0;  // of rows, in floats
    std::size_t n_rows_ = 0;
    Buffer memory_;
    const float* rows_ = nullptr;
    std::vector<CodeColumn> codes_;
    std::vector<Number> numbers_;
    std::vector<double> knots_;
    std::vector<double> per_width_;  // 1 / the distance to the next knot
    std::vector<float> bounds_;      // (F, n_bounds_) the knots rounded up, then +inf
    std::size_t n_bounds_ = 0;
};

// M.sums.npz: the row sums of the ONNX file M.onnx, and the rest of the model (karec/models/row_sums.py).
// Members: those of RowSumsTable, `rest`, and `head` (JSON: format, model_xxh64, n_codes, outputs of name and width).
struct RowSumsFile {
    std::string model_xxh64;  // of M.onnx, 16 hexadecimal digits
    RowSums sums;
    std::span<const std::byte> rest;  // the model whose inputs are the outputs of `sums`, in the bytes that were read

    // bad_format: `npz` is not such a file, or a damaged one.
    static Result<RowSumsFile> read(std::span<const std::byte> npz);
};

}  // namespace karec
