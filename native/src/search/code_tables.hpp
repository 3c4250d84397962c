// CodeTables looks up the tables of one query for the codes of rows.
//
// Algorithm: a table with small codes becomes an array by code. Another one becomes a hash table with its codes as
// keys, behind a filter of one bit for each hash value. A row is summed as if it had none of the hashed codes; rows
// with a code that passes its filter are summed again, exactly.
// Cost: O(codes) at the start, expected O(columns) a row, twice if it passes a filter (`make bench K=prerank`).
// Invariant: a code that the table lacks has `other`, also if its hash is that of another code.
// Threads: any number of threads may use one object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/pages.hpp"
#include "base/scratch.hpp"
#include "karec/index_view.hpp"

namespace karec {

class CodeTables {
  public:
    // Reads each code once, or checks it where it is used.
    explicit CodeTables(std::span<const CodeTable> tables);
    CodeTables(CodeTables&&) noexcept = default;  // a copy would point into the memory of the original

    bool empty() const noexcept { return columns_.empty(); }

    // scores[i] += ((0 + t_0) + t_1) + … for rows[i] ≥ 0, t_c the value of table c for the row's code in column c, in
    // float32. `codes` has one for each table, by row. Prefetches the codes of next[i] if `next` is not null. n ≤
    // kMaxRows.
    void add(const Pages<std::uint32_t>& codes, const std::int32_t* rows, const std::int32_t* next, std::size_t n,
             float* scores) const noexcept;

    static constexpr std::size_t kMaxRows = 128;

  private:
    // A code and its value; NaN marks an empty slot.
    struct Slot {
        std::uint32_t code;
        float value;
    };

    // The table of a column, with the parts that most rows read on one cache line.
    struct alignas(64) Column {
        const float* by_code = nullptr;  // last + 1 values, the last of them `other`; null: hashed
        const std::uint64_t* filter = nullptr;
        const Slot* slots = nullptr;  // last + 1, at most half of them full, with linear probing
        std::uint32_t last = 0;
        unsigned filter_shift = 0;
        unsigned slot_shift = 0;
        float other = 0.0f;

        float find(std::uint32_t code) const noexcept;
    };

    Column make_array(const CodeTable& given, std::uint32_t last_code);
    Column make_hash_table(const CodeTable& given);
    float sum(const std::uint32_t* codes) const noexcept;
    void sum_rows(const std::uint32_t* const* rows, float* sums, std::uint64_t* passes) const noexcept;

    ScratchVector<Column> columns_;
    // The memory of the columns.
    ScratchVector<ScratchVector<float>> arrays_;
    ScratchVector<ScratchVector<std::uint64_t>> filters_;
    ScratchVector<ScratchVector<Slot>> slots_;
};

}  // namespace karec
