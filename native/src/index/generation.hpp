// One generation of an index: everything that a reader sees, never changed once published.
//
// A work has one row for as long as its vector stands; an upsert writes a new row and leaves the old one to be reused
// when the last reader that could see it is gone. What belongs to the work and not to its vector (adjustment, block)
// moves along. Generations share all pages that did not change between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "index/id_map.hpp"
#include "index/paged_array.hpp"
#include "index/row_format.hpp"
#include "karec/item_index.hpp"

namespace karec {

inline constexpr std::size_t kSmallPage = std::size_t{64} << 10;  // of what is copied when it changes
inline constexpr std::size_t kLargePage = std::size_t{2} << 20;   // of what is written in place: one huge page

// A set of rows.
class RowSet {
  public:
    bool empty() const noexcept { return words_.empty(); }
    bool has(std::size_t row) const noexcept {
        return row >> 6 < words_.size() && (*words_.at(row >> 6) >> (row & 63) & 1) != 0;
    }
    // Bit i: whether row 64·at + i is in.
    std::uint64_t word(std::size_t at) const noexcept { return at < words_.size() ? *words_.at(at) : 0; }
    void put(std::size_t row, bool in) {
        if (has(row) == in) return;
        words_.grow((row >> 6) + 1);
        *words_.copy_on_write(row >> 6) ^= std::uint64_t{1} << (row & 63);
    }
    PagedArray<std::uint64_t>& words() noexcept { return words_; }
    const PagedArray<std::uint64_t>& words() const noexcept { return words_; }

  private:
    PagedArray<std::uint64_t> words_{1, kSmallPage};
};

struct PagedColumn {
    std::string name;
    DType dtype;
    PagedArray<std::byte> values;
};

struct ModelVersion {
    std::int64_t number;
    std::size_t n_rows;  // works whose vectors are of it
};

struct Generation {
    explicit Generation(RowFormat row_format) : format(row_format), rows(row_format.stride(), kLargePage) {}

    void keep_exact() { exact = PagedArray<std::byte>(exact_format().stride(), kLargePage), keeps_exact = true; }
    RowFormat exact_format() const noexcept { return {format.dim, DType::float32}; }
    std::size_t n_rows() const noexcept { return rows.size(); }
    std::size_t code_of(std::size_t row) const noexcept { return codes.empty() ? 0 : *codes.at(row); }
    float scale_of(std::size_t row) const noexcept { return scales.empty() ? 1.0f : *scales.at(row); }

    // Makes room for rows up to n of them, in every array that has rows.
    void grow(std::size_t n);
    // Writes what one row holds, where no reader sees it. `columns` in this generation's order.
    void write_row(std::size_t row, std::int64_t id, const MatrixView& vectors, std::size_t i, std::size_t code,
                   std::span<const Column> columns_in);
    // The code of a model version, given one if it has none; 256 if no code is left.
    std::size_t code_for(std::int64_t version);
    // The same works in as few rows, in the same order.
    Generation compacted() const;
    // From here on, readers may know every page.
    void publish() noexcept;
    std::size_t bytes() const noexcept;

    std::uint64_t number = 1;
    std::int64_t model_version = 0;      // of the newest vectors
    std::vector<ModelVersion> versions;  // by code
    std::size_t n_works = 0;

    RowFormat format;
    bool keeps_exact = false;
    // By row, written in place while no reader can see the row.
    PagedArray<std::byte> rows;
    PagedArray<float> scales{1, kLargePage};  // of int8 rows, else empty
    PagedArray<std::byte> exact;              // float32 rows to rescore from, if keeps_exact
    PagedArray<std::int64_t> ids{1, kLargePage};
    PagedArray<std::uint8_t> codes{1, kLargePage};  // of model versions; empty while code 0 is the only one
    std::vector<PagedColumn> columns;

    // By bucket or row, copied page by page when it changes.
    IdMap id_map;
    bool map_verified = true;                           // false: of a file taken on trust, good for reading alone
    PagedArray<Adjustment> adjustments{1, kSmallPage};  // empty while every row has {1, 0}
    RowSet blocked;
    RowSet removed;
    RowSet closed;  // blocked or removed: the one set that a search tests
};

}  // namespace karec
