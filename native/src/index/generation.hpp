// One generation of an index: everything that a reader sees. Immutable once published.
//
// A work keeps its row until it is upserted or removed. An upsert writes a new row; GenerationStore reuses the old one
// when no reader can see it. Adjustment and block belong to the work and are copied to its new row. Generations share
// all pages that did not change between them.
//
// Invariants:
//   - rows, ids, exact (with keeps_exact), scales (int8) and each column have n_rows() elements; adjustments and codes
//     too, or none: then every row has {1, 0}, or code 0.
//   - closed = blocked ∪ removed. blocked and removed are disjoint.
//   - A row that is not in `adjusted` has {1, 0}; with adjustments of a file that was not verified, all rows are in it.
//   - n_works = the rows that are not removed = the ids in id_map. For such a row, id_map holds ids[row] → row (after
//     map_verified).
//   - versions[c].n_rows counts the rows of code c that are not removed. Other codes than the first n_codes have no
//   rows.
//   - rows, scales, exact, ids, codes, columns and list_of change by write_unshared alone, at rows that no reader sees;
//     id_map, adjustments and the row sets change by copy_on_write.
//   - With lists, a row that holds a work is in exactly one of them: list_of says which for the rows that were written
//     since the lists were made (moved, and all from n_ranged_rows() on), its range for the others.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
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
    // The same question, for loops. Valid until this set changes.
    struct Words {
        Pages<std::uint64_t> pages;
        std::size_t n;
        bool has(std::size_t row) const noexcept {
            static constexpr std::uint64_t kNone = 0;
            const std::uint64_t* word = row >> 6 < n ? pages.at(row >> 6) : &kNone;
            return (*word >> (row & 63) & 1) != 0;
        }
    };
    Words in_registers() const noexcept { return {words_.pages(), words_.size()}; }
    // Bit i: whether the set has row 64·at + i.
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

struct Generation {
    explicit Generation(RowFormat row_format) : format(row_format), rows(row_format.stride(), kLargePage) {}

    void keep_exact() { exact = PagedArray<std::byte>(exact_format().stride(), kLargePage), keeps_exact = true; }
    RowFormat exact_format() const noexcept { return {format.dim, DType::float32}; }
    std::size_t n_rows() const noexcept { return rows.size(); }
    std::size_t code_of(std::size_t row) const noexcept { return codes.empty() ? 0 : *codes.at(row); }
    // product·scale + offset of the row's model version; of a removed row, any number.
    float on_one_scale(std::size_t row, float product) const noexcept {
        const ModelVersion& version = versions[code_of(row)];
        return product * version.scale + version.offset;
    }
    std::span<const ModelVersion> used_versions() const noexcept { return std::span(versions).first(n_codes); }
    bool is_calibrated() const noexcept { return std::ranges::any_of(used_versions(), &ModelVersion::is_calibrated); }
    float scale_of(std::size_t row) const noexcept { return scales.empty() ? 1.0f : *scales.at(row); }
    const Adjustment& adjustment_of(std::size_t row) const noexcept {
        return adjusted.has(row) ? *adjustments.at(row) : kNoAdjustment;
    }
    // The list of a row that holds a work, where there are lists.
    std::size_t list_of_row(std::size_t row) const noexcept {
        return row >= lists->n_ranged_rows() || moved.has(row) ? *list_of.at(row) : lists->list_with(row);
    }
    // Whether every row is in the list whose range it lies in.
    bool in_list_order() const noexcept { return moved.empty() && n_rows() == lists->n_ranged_rows(); }
    // nullptr where there is none of that name.
    const PagedColumn* find_column(std::string_view name) const noexcept;

    // Makes n rows of it, in every array that is kept by row. Never shrinks.
    void grow(std::size_t n);
    // Writes an id, its vector (a matrix of one row) and element i of the columns into a row that no reader sees.
    // `columns_in` in this generation's order; nullptr takes the value of row `old`, the item's row until now.
    void write_row(std::size_t row, std::int64_t id, const MatrixView& vector, std::size_t code,
                   std::span<const Column* const> columns_in, std::size_t i, std::size_t old = 0);
    // Where there are adjustments.
    void adjust(std::size_t row, const Adjustment& adjustment);
    // Makes `adjusted` of the adjustments; without reading them, of all rows. O(N).
    void mark_adjusted(bool without_reading);
    // Puts rows that write_row has written, with vectors of `version`, into their lists. O(rows·n_lists·D).
    void put_in_lists(std::span<const std::int32_t> written, std::int64_t version);
    // The code of a model version; a new one, or one without rows, if it has none; 256 if all are in use. Of a version
    // without rows only its number is known.
    std::size_t code_for(std::int64_t version);
    // A copy with the same works in the same order (with lists, in the order of their lists), without removed rows.
    // O(N·D).
    Generation compacted() const;
    // A copy with the works of the rows `kept` alone, each in the list of[i] of `made`, whose ends it sets: in the
    // order of the lists, within one in the order of `kept`. O(N·D).
    Generation in_lists(RowLists made, std::span<const std::int32_t> kept, std::span<const std::uint16_t> of) const;
    // The rows that hold works, ascending.
    std::vector<std::int32_t> rows_with_works() const;
    // Published: pages are immutable from here (PagedArray::publish).
    void publish() noexcept;
    std::size_t bytes() const noexcept;
    // A copy with the works of the rows `kept` alone, in this order, without lists. O(N·D).
    Generation copy_of(std::span<const std::int32_t> kept) const;

    std::uint64_t number = 1;
    std::int64_t model_version = 0;  // of the newest vectors
    // By code. Every code has an entry: the bytes of a mapped file may change after they were checked.
    std::array<ModelVersion, kMaxVersions> versions{};
    std::size_t n_codes = 1;  // that are in use, from 0 on
    std::size_t n_works = 0;
    std::size_t n_first_rows = 0;  // when rows got their present numbers: no later generation has fewer

    RowFormat format;
    bool keeps_exact = false;
    // By row; written in place (write_unshared) while no reader can see the row.
    PagedArray<std::byte> rows;
    PagedArray<float> scales{1, kLargePage};  // of int8 rows, else empty
    PagedArray<std::byte> exact;              // float32 rows to rescore from, if keeps_exact
    PagedArray<std::int64_t> ids{1, kLargePage};
    PagedArray<std::uint8_t> codes{1, kLargePage};  // of model versions; empty while code 0 is the only one
    std::vector<PagedColumn> columns;
    PagedArray<std::uint16_t> list_of{1, kLargePage};  // empty, or void, while no row was written since the lists

    // By bucket or row; a page is copied before it changes (copy_on_write).
    IdMap id_map;
    bool map_verified = true;  // false: from a file opened without verify; then only reads may use it
    PagedArray<Adjustment> adjustments{1, kSmallPage};  // empty while every row has {1, 0}
    RowSet blocked;
    RowSet removed;
    RowSet closed;                          // blocked or removed: the one set that a search tests
    RowSet adjusted;                        // whose adjustments a search reads
    std::shared_ptr<const RowLists> lists;  // nullptr: none
    RowSet moved;                           // of the rows in the lists' ranges those that were written since
};

}  // namespace karec
