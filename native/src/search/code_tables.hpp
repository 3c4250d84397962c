// CodeTables looks up the tables of one query for the codes of rows.
//
// Algorithm: a table with small codes becomes an array by code. Another one becomes a hash table with its codes as
// keys, behind a filter of one bit for each hash value: most rows have none of the user's codes, and then one bit
// decides. Columns are added one after another, so that each loop has one kind of table.
// Cost: O(codes) at the start, expected O(columns) a row.
// Invariant: a code that the table lacks has `other`, also if its hash is that of another code.
// Threads: any number of threads may use one object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/scratch.hpp"
#include "karec/index_view.hpp"

namespace karec {

class CodeTables {
  public:
    // Reads each code once, or checks it where it is used.
    explicit CodeTables(std::span<const CodeTable> tables);

    bool empty() const noexcept { return tables_.empty(); }

    // sums[i] = ((0 + t_0) + t_1) + …, t_c the value of table c for rows[i][c], in float32. n ≤ kMaxSummedRows.
    void sum(const std::uint32_t* const* rows, std::size_t n, float* sums) const noexcept;

    static constexpr std::size_t kMaxSummedRows = 128;

  private:
    // A code and its value; NaN marks an empty slot.
    struct Slot {
        std::uint32_t code;
        float value;
    };

    struct Table {
        ScratchVector<float> by_code;  // ends in `other`; empty: hashed
        ScratchVector<std::uint64_t> filter;
        ScratchVector<Slot> slots;  // with linear probing, at most half full
        unsigned filter_shift = 0;
        unsigned slot_shift = 0;
        float other = 0.0f;

        float find(std::uint32_t code) const noexcept;
    };

    static Table make_table(const CodeTable& given);
    static void add_by_code(const Table& table, const std::uint32_t* const* rows, std::size_t column, std::size_t n,
                            float* sums) noexcept;
    static void add_hashed(const Table& table, const std::uint32_t* const* rows, std::size_t column, std::size_t n,
                           float* sums) noexcept;

    ScratchVector<Table> tables_;  // by column
};

}  // namespace karec
