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

// The shift after which a hash is below `size`, a power of two from 2 on.
unsigned shift_for(std::size_t size) noexcept {
    return 32 - static_cast<unsigned>(std::countr_zero(size));
}

}  // namespace

CodeTables::CodeTables(std::span<const CodeTable> tables) {
    for (const CodeTable& table : tables) tables_.push_back(make_table(table));
}

CodeTables::Table CodeTables::make_table(const CodeTable& given) {
    Table table;
    table.other = given.other;
    const std::size_t n = given.codes.size();
    const std::uint32_t last = n == 0 ? 0 : read_once(given.codes.back());
    if (last <= kMaxCodeOfArray) {
        table.by_code.assign(last + 2, given.other);
        for (std::size_t i = 0; i < n; ++i) {
            // Another thread may have changed the code after it was checked.
            const std::uint32_t code = std::min(read_once(given.codes[i]), last);
            table.by_code[code] = given.values[i];
        }
        return table;
    }
    const std::size_t n_slots = std::bit_ceil(2 * n);
    const std::size_t n_bits = std::min(std::bit_ceil(kFilterBitsPerCode * n), kMaxFilterBits);
    table.slots.assign(n_slots, {0, std::numeric_limits<float>::quiet_NaN()});
    table.filter.assign(n_bits / 64, 0u);
    table.slot_shift = shift_for(n_slots);
    table.filter_shift = shift_for(n_bits);
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t code = read_once(given.codes[i]);
        const std::uint32_t bit = hash(code) >> table.filter_shift;
        table.filter[bit / 64] |= std::uint64_t{1} << bit % 64;
        std::size_t at = hash(code) >> table.slot_shift;
        while (!std::isnan(table.slots[at].value)) at = (at + 1) & (n_slots - 1);
        table.slots[at] = {code, given.values[i]};
    }
    return table;
}

float CodeTables::Table::find(std::uint32_t code) const noexcept {
    for (std::size_t at = hash(code) >> slot_shift;; at = (at + 1) & (slots.size() - 1)) {
        if (std::isnan(slots[at].value)) return other;
        if (slots[at].code == code) return slots[at].value;
    }
}

void CodeTables::add_by_code(const Table& table, const std::uint32_t* const* rows, std::size_t column, std::size_t n,
                             float* sums) noexcept {
    const float* values = table.by_code.data();
    const auto last = static_cast<std::uint32_t>(table.by_code.size() - 1);
    for (std::size_t i = 0; i < n; ++i) sums[i] += values[std::min(rows[i][column], last)];
}

void CodeTables::add_hashed(const Table& table, const std::uint32_t* const* rows, std::size_t column, std::size_t n,
                            float* sums) noexcept {
    // No branch depends on a code: rows that pass the filter are collected, and added after the others.
    const std::uint64_t* filter = table.filter.data();
    const unsigned shift = table.filter_shift;
    std::uint32_t found[kMaxSummedRows];
    float sums_before[kMaxSummedRows];
    std::size_t n_found = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t bit = hash(rows[i][column]) >> shift;
        found[n_found] = static_cast<std::uint32_t>(i);
        sums_before[n_found] = sums[i];
        n_found += filter[bit / 64] >> bit % 64 & 1;
    }
    for (std::size_t i = 0; i < n; ++i) sums[i] += table.other;
    for (std::size_t f = 0; f < n_found; ++f) {
        sums[found[f]] = sums_before[f] + table.find(rows[found[f]][column]);
    }
}

void CodeTables::sum(const std::uint32_t* const* rows, std::size_t n, float* sums) const noexcept {
    std::fill_n(sums, n, 0.0f);
    for (std::size_t column = 0; column < tables_.size(); ++column) {
        const Table& table = tables_[column];
        (table.by_code.empty() ? add_hashed : add_by_code)(table, rows, column, n, sums);
    }
}

}  // namespace karec
