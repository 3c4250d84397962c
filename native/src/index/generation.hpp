// Generation is the state of an index that a reader sees. Immutable once published.
//
// An item has its row until it is upserted or removed. An upsert writes a new row; GenerationStore reuses the old one
// when no reader can see it. Adjustment and block belong to the item and are copied to its new row. Generations share
// all pages that did not change between them.
//
// Invariants
//   - rows, ids, exact_rows (if has_exact_rows), scales (int8), item_codes (if there are code_columns) and each column
//     have n_rows() elements; adjustments and codes too, or none: then every row has {1, 0}, or code 0.
//   - closed = blocked ∪ removed. blocked and removed are disjoint.
//   - A row that is not in `adjusted` has {1, 0}; with adjustments of a file that was not verified, all rows are in it.
//   - n_items = the rows that are not removed = the ids in id_map. For such a row, id_map has ids[row] → row (after
//     is_map_verified).
//   - versions[c].n_rows counts the rows of code c that are not removed. Only the first n_codes codes have rows.
//   - rows, scales, exact_rows, ids, codes, item_codes, columns and list_of change only by write_unshared, at rows that
//     no reader sees; id_map, adjustments and the row sets change by copy_on_write.
//   - With lists, a row with an item is in exactly one of them. list_of has the list of rows that were written after
//     the lists were built (moved, and all from n_ranged_rows() on); the others are in the list of their range.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "index/id_map.hpp"
#include "index/paged_array.hpp"
#include "index/row_format.hpp"
#include "index/row_lists.hpp"
#include "karec/item_index.hpp"

namespace karec {

inline constexpr std::size_t kSmallPage = std::size_t{64} << 10;  // bytes, for arrays that are copied when they change
inline constexpr std::size_t kLargePage = std::size_t{2} << 20;   // bytes, for arrays written in place: one huge page

// Applied to the score of an item: score·scale + offset.
struct Adjustment {
    float scale = 1.0f;
    float offset = 0.0f;
};
inline constexpr Adjustment kNoAdjustment{};

// Compares bits: offsets of −0 and of 0 are equal as numbers, and give a score of −0 different signs.
inline bool has_same_bits(const Adjustment& a, const Adjustment& b) noexcept {
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

inline constexpr std::size_t kMaxVersions = 256;  // model versions of one index: a row's code has 8 bits

// A set of rows.
class RowSet {
  public:
    bool empty() const noexcept { return words_.empty(); }
    bool has(std::size_t row) const noexcept {
        return row >> 6 < words_.size() && (*words_.at(row >> 6) >> (row & 63) & 1) != 0;
    }
    // The set for loops. Valid until the set changes.
    struct Words {
        Pages<std::uint64_t> pages;
        std::size_t n;
        bool has(std::size_t row) const noexcept {
            static constexpr std::uint64_t kNone = 0;
            const std::uint64_t* word = row >> 6 < n ? pages.at(row >> 6) : &kNone;
            return (*word >> (row & 63) & 1) != 0;
        }
    };
    Words to_words() const noexcept { return {words_.pages(), words_.size()}; }
    // Bit i: row 64·w + i is in the set.
    std::uint64_t word(std::size_t w) const noexcept { return w < words_.size() ? *words_.at(w) : 0; }
    void put(std::size_t row, bool is_in) {
        if (has(row) == is_in) return;
        words_.grow((row >> 6) + 1);
        *words_.copy_on_write(row >> 6) ^= std::uint64_t{1} << (row & 63);
    }
    PagedArray<std::uint64_t>& words() noexcept { return words_; }
    const PagedArray<std::uint64_t>& words() const noexcept { return words_; }

  private:
    PagedArray<std::uint64_t> words_{1, kSmallPage};
};

struct PagedColumn {
    PagedColumn(std::string_view column_name, DType column_dtype)
        : name(column_name), dtype(column_dtype), values(size_of(column_dtype), kLargePage) {}

    std::string name;
    DType dtype;
    PagedArray<std::byte> values;
};

struct Generation {
    explicit Generation(RowFormat row_format) : format(row_format), rows(row_format.stride(), kLargePage) {}

    void add_exact_rows() {
        exact_rows = PagedArray<std::byte>(exact_format().stride(), kLargePage);
        has_exact_rows = true;
    }
    // A row's codes are padded to a power of two, so that they are on one cache line.
    void add_code_columns(std::vector<std::string> names) {
        if (names.empty()) return;
        item_codes = PagedArray<std::uint32_t>(std::bit_ceil(names.size()), kLargePage);
        code_columns = std::move(names);
    }
    RowFormat exact_format() const noexcept { return {format.dim, DType::float32}; }
    std::size_t n_rows() const noexcept { return rows.size(); }
    std::size_t code_of(std::size_t row) const noexcept { return codes.empty() ? 0 : *codes.at(row); }
    std::span<const ModelVersion> used_versions() const noexcept { return std::span(versions).first(n_codes); }
    bool is_calibrated() const noexcept { return std::ranges::any_of(used_versions(), &ModelVersion::is_calibrated); }
    // product·scale + offset of the row's model version; of a removed row, any number.
    float calibrate_score(std::size_t row, float product) const noexcept {
        const ModelVersion& version = versions[code_of(row)];
        return product * version.scale + version.offset;
    }
    float scale_of(std::size_t row) const noexcept { return scales.empty() ? 1.0f : *scales.at(row); }
    const Adjustment& adjustment_of(std::size_t row) const noexcept {
        return adjusted.has(row) ? *adjustments.at(row) : kNoAdjustment;
    }
    // x (dim) = the vector of a row as float32, from exact_rows if there are any.
    void decode(std::size_t row, float* x) const noexcept {
        if (has_exact_rows) {
            exact_format().decode(exact_rows.at(row), 1.0f, x);
        } else {
            format.decode(rows.at(row), scale_of(row), x);
        }
    }
    // The list of a row with an item, if there are lists.
    std::size_t find_list(std::size_t row) const noexcept {
        return row >= lists->n_ranged_rows() || moved.has(row) ? *list_of.at(row) : lists->find_list(row);
    }
    // Returns whether every row is in the list of its range.
    bool is_in_list_order() const noexcept { return moved.empty() && n_rows() == lists->n_ranged_rows(); }
    // nullptr if no column has the name.
    const PagedColumn* find_column(std::string_view name) const noexcept;

    // Extends every array of rows to n rows. Never shrinks.
    void grow(std::size_t n);
    // Writes an id, its vector (a matrix of one row) and element i of the columns into a row that no reader sees.
    // `columns_in` in this generation's order; nullptr takes the value of row `old`, the item's row until now.
    void write_row(std::size_t row, std::int64_t id, const MatrixView& vector, std::size_t code,
                   std::span<const Column* const> columns_in, std::size_t i, std::size_t old = 0);
    // Writes element i of the code columns, which are in this generation's order, into a row that no reader sees.
    void write_codes(std::size_t row, std::span<const Column* const> codes_in, std::size_t i);
    // Requires adjustments.
    void adjust(std::size_t row, const Adjustment& adjustment);
    // Sets `adjusted` from the adjustments; without reading them, to all rows. O(N).
    void mark_adjusted(bool without_reading);
    // Puts written rows, with vectors of `version`, into their lists. O(rows·n_lists·D).
    void assign_lists(std::span<const std::int32_t> written_rows, std::int64_t version);
    // The code of a model version; a new or unused one if it has none; kMaxVersions if all are used.
    std::size_t assign_code(std::int64_t version);
    // Notes that the row has another item, or is closed or open, since this generation.
    void mark_changed(std::size_t row);
    // Returns whether a row of 64·word … 64·word + 63 may differ from `generation` in item, columns or `closed`.
    bool has_changed(std::size_t word, std::uint64_t generation) const noexcept {
        return generation < first_number || (word < changed_in.size() && *changed_in.at(word) > generation);
    }
    // The rows with items, ascending.
    std::vector<std::int32_t> item_rows() const;
    // A copy with the items of these rows, in this order, without lists. O(N·D).
    Generation copy_rows(std::span<const std::int32_t> from_rows) const;
    // A copy with the items of these rows, row i in list list_numbers[i] of `new_lists`, whose ends it sets: in the
    // order of the lists, within one in the order of the rows. O(N·D).
    Generation copy_into_lists(RowLists new_lists, std::span<const std::int32_t> from_rows,
                               std::span<const std::uint16_t> list_numbers) const;
    // A copy with all items in their order (that of the lists, if there are any), without removed rows. O(N·D).
    Generation copy_compact() const;
    // Makes the pages immutable (PagedArray::publish).
    void publish() noexcept;
    std::size_t bytes() const noexcept;

    std::uint64_t number = 1;
    std::int64_t model_version = 0;  // of the newest vectors
    // By code. Every code has an entry: the bytes of a mapped file may change after they were checked.
    std::array<ModelVersion, kMaxVersions> versions{};
    std::size_t n_codes = 1;  // that are in use, from 0 on
    std::size_t n_items = 0;
    std::size_t n_first_rows = 0;    // of the first generation with this numbering of rows
    std::uint64_t first_number = 1;  // of that generation

    RowFormat format;
    bool has_exact_rows = false;
    // By row; written in place (write_unshared) while no reader sees the row.
    PagedArray<std::byte> rows;
    PagedArray<float> scales{1, kLargePage};  // of int8 rows, else empty
    PagedArray<std::byte> exact_rows;         // float32 rows to rescore from, if has_exact_rows
    PagedArray<std::int64_t> ids{1, kLargePage};
    PagedArray<std::uint8_t> codes{1, kLargePage};  // of model versions; empty while code 0 is the only one
    std::vector<std::string> code_columns;
    PagedArray<std::uint32_t> item_codes;  // by row, then by code column
    std::vector<PagedColumn> columns;
    PagedArray<std::uint16_t> list_of{1, kLargePage};  // empty, or unused, until a row is written after the lists

    // By bucket or row; a page is copied before it changes (copy_on_write).
    IdMap id_map;
    bool is_map_verified = true;                        // false: of a file opened without verify; only reads may use it
    PagedArray<Adjustment> adjustments{1, kSmallPage};  // empty while every row has {1, 0}
    RowSet blocked;
    RowSet removed;
    RowSet closed;                                        // blocked or removed, for searches
    PagedArray<std::uint64_t> changed_in{1, kSmallPage};  // by 64 rows: the last generation that changed one of them
    RowSet adjusted;                                      // with another adjustment than {1, 0}
    std::shared_ptr<const RowLists> lists;                // nullptr: none
    RowSet moved;  // rows in the ranges of the lists that were written after build_lists()
};

}  // namespace karec
