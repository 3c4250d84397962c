#include "search/code_tables.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/read_once.hpp"

namespace karec {
namespace {

constexpr std::uint32_t kMaxCodeOfArray = 4095;               // an array has at most 16 KiB
constexpr std::size_t kFilterBitsPerCode = 64;                // 1.6 % of other codes pass
constexpr std::size_t kMaxFilterBits = std::size_t{1} << 17;  // 16 KiB
constexpr std::uint32_t kHashFactor = 0x9E3779B1u;            // 2^32 / golden ratio

std::uint32_t hash(std::uint32_t code) noexcept {
    return code * kHashFactor;
}

constexpr std::size_t kRowsAtOnce = 4;  // independent sums, which the processor adds at the same time

// The shift after which a hash is below `size`, a power of two from 2 on.
unsigned shift_for(std::size_t size) noexcept {
    return 32 - static_cast<unsigned>(std::countr_zero(size));
}

}  // namespace

CodeTables::CodeTables(std::span<const CodeTable> tables) {
    for (const CodeTable& table : tables) {
        const std::uint32_t last = table.codes.empty() ? 0 : read_once(table.codes.back());
        columns_.push_back(last <= kMaxCodeOfArray ? make_array(table, last) : make_hash_table(table));
    }
}

CodeTables::Column CodeTables::make_array(const CodeTable& given, std::uint32_t last_code) {
    ScratchVector<float>& values = arrays_.emplace_back(last_code + 2, given.other);
    for (std::size_t i = 0; i < given.codes.size(); ++i) {
        // Another thread may have changed the code after it was checked.
        values[std::min(read_once(given.codes[i]), last_code)] = given.values[i];
    }
    return {.by_code = values.data(), .last = last_code + 1, .other = given.other};
}

CodeTables::Column CodeTables::make_hash_table(const CodeTable& given) {
    const std::size_t n_slots = std::bit_ceil(2 * given.codes.size());
    const std::size_t n_bits = std::min(std::bit_ceil(kFilterBitsPerCode * given.codes.size()), kMaxFilterBits);
    ScratchVector<Slot>& slots = slots_.emplace_back(n_slots, Slot{0, std::numeric_limits<float>::quiet_NaN()});
    ScratchVector<std::uint64_t>& filter = filters_.emplace_back(n_bits / 64, 0u);
    const Column column{.filter = filter.data(),
                        .slots = slots.data(),
                        .last = static_cast<std::uint32_t>(n_slots - 1),
                        .filter_shift = shift_for(n_bits),
                        .slot_shift = shift_for(n_slots),
                        .other = given.other};
    for (std::size_t i = 0; i < given.codes.size(); ++i) {
        const std::uint32_t code = read_once(given.codes[i]);
        const std::uint32_t bit = hash(code) >> column.filter_shift;
        filter[bit / 64] |= std::uint64_t{1} << bit % 64;
        std::uint32_t at = hash(code) >> column.slot_shift;
        while (!std::isnan(slots[at].value)) at = (at + 1) & column.last;
        slots[at] = {code, given.values[i]};
    }
    return column;
}

float CodeTables::Column::find(std::uint32_t code) const noexcept {
    if (by_code != nullptr) return by_code[std::min(code, last)];
    for (std::uint32_t at = hash(code) >> slot_shift;; at = (at + 1) & last) {
        if (std::isnan(slots[at].value)) return other;
        if (slots[at].code == code) return slots[at].value;
    }
}

float CodeTables::sum(const std::uint32_t* codes) const noexcept {
    float sum = 0.0f;
    for (std::size_t c = 0; c < columns_.size(); ++c) sum += columns_[c].find(codes[c]);
    return sum;
}

// Adds to sums[r] the values of row r as if it had no hashed code, without a branch that depends on a code. Sets bit 0
// of passes[r] if a code of the row passes the filter of its table.
[[gnu::always_inline]] inline void CodeTables::sum_rows(const std::uint32_t* const* rows, float* sums,
                                                        std::uint64_t* passes) const noexcept {
    const std::size_t n_columns = std::min(columns_.size(), kMaxCodeColumns);
    for (std::size_t c = 0; c < n_columns; ++c) {
        const Column& column = columns_[c];
        if (const float* values = column.by_code; values != nullptr) {
            const std::uint32_t last = column.last;
#pragma GCC unroll 4  // else GCC keeps the sums in memory
            for (std::size_t r = 0; r < kRowsAtOnce; ++r) sums[r] += values[std::min(rows[r][c], last)];
            continue;
        }
        const std::uint64_t* filter = column.filter;
        const unsigned shift = column.filter_shift;
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
            const std::uint32_t bit = hash(rows[r][c]) >> shift;
            passes[r] |= filter[bit / 64] >> bit % 64;
            sums[r] += column.other;
        }
    }
}

void CodeTables::add(const Pages<std::uint32_t>& codes, const std::int32_t* rows, const std::int32_t* next,
                     std::size_t n, float* scores) const noexcept {
    static constexpr std::uint32_t kNoCodes[kMaxCodeColumns] = {};
    const auto at = [&codes](std::int32_t row) { return row < 0 ? kNoCodes : codes.at(static_cast<std::size_t>(row)); };
    std::uint32_t passed[kMaxRows];
    float before[kMaxRows];
    std::size_t n_passed = 0;
    for (std::size_t first = 0; first < n; first += kRowsAtOnce) {
        const std::uint32_t* row_codes[kRowsAtOnce];
        float sums[kRowsAtOnce] = {};
        std::uint64_t passes[kRowsAtOnce] = {};
        for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
            const std::size_t i = std::min(first + r, n - 1);  // rows after the last one are the last one again
            if (next != nullptr) __builtin_prefetch(at(next[i]), 0, 2);
            row_codes[r] = at(rows[i]);
        }
        sum_rows(row_codes, sums, passes);
        for (std::size_t r = 0; r < kRowsAtOnce && first + r < n; ++r) {
            const std::size_t i = first + r;
            passed[n_passed] = static_cast<std::uint32_t>(i);
            before[n_passed] = scores[i];
            n_passed += passes[r] & 1;
            scores[i] = rows[i] < 0 ? scores[i] : scores[i] + sums[r];
        }
    }
    for (std::size_t p = 0; p < n_passed; ++p) {
        const std::uint32_t i = passed[p];
        if (rows[i] >= 0) scores[i] = before[p] + sum(at(rows[i]));
    }
}

}  // namespace karec
