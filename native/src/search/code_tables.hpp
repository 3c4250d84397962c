// CodeTables looks up the tables of one query for the codes of rows.
//
// Algorithm: a table with small codes becomes an array by code. Another one becomes an array by hash, which has NaN for
// the hashes of its codes and `other` for the rest, and a hash table with its codes as keys. Rows are summed by the
// arrays (kernels().sum_tables); if the sum is NaN, the row is summed again with the hash tables.
// Cost: O(codes) at the start, expected O(columns) a row, twice if a hash is that of a code (`make bench K=prerank`).
// Invariant: a code that the table lacks has `other`, also if its hash is that of another code.
// Threads: any number of threads may use one object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/scratch.hpp"
#include "karec/index_view.hpp"
#include "kernels/kernels.hpp"

namespace karec {

class CodeTables {
  public:
    // Reads each code once, or checks it where it is used.
    explicit CodeTables(std::span<const CodeTable> tables);
    CodeTables(CodeTables&&) noexcept = default;  // a copy would point into the memory of the original

    bool empty() const noexcept { return entries_.n_columns == 0; }

    // sums[i] = ((0 + t_0) + t_1) + …, t_c the value of table c for codes[i][c], in float32. codes[i] has room for the
    // next power of two of columns. Prefetches next[i] if `next` is not null. n ≤ kTableRows; `sums` has room for
    // kTableRows.
    void sum(const std::uint32_t* const* codes, const std::uint32_t* const* next, std::size_t n,
             float* sums) const noexcept;

  private:
    // A code and its value; NaN marks an empty slot.
    struct Slot {
        std::uint32_t code;
        float value;
    };
    // Slots with linear probing, at most an eighth of them full; none if the column has an array by code.
    using Slots = ScratchVector<Slot>;

    void add_array(const CodeTable& given, std::uint32_t last_code);
    void add_hash_table(const CodeTable& given);
    std::uint32_t add_entries(std::size_t n, float value);
    float sum_exactly(const std::uint32_t* codes) const noexcept;
    float find(std::size_t column, std::uint32_t code) const noexcept;

    TableEntries entries_{};
    ScratchVector<float> values_;  // of the entries
    ScratchVector<Slots> slots_;   // by column
    ScratchVector<float> others_;  // by column
};

}  // namespace karec
