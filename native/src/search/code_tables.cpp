#include "search/code_tables.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/read_once.hpp"

namespace karec {
namespace {

constexpr std::uint32_t kMaxCodeOfArray = 4095;                     // an array has at most 16 KiB
constexpr std::size_t kEntriesPerCode = 64;                         // 1.6 % of other codes have the hash of a code
constexpr std::size_t kMaxHashEntries = std::size_t{1} << 15;       // 128 KiB
constexpr std::size_t kSlotsPerCode = 8;                            // the first slot decides for most codes
constexpr std::uint32_t kHashFactor = 0x9E3779B1u;                  // 2^32 / golden ratio
constexpr float kEmpty = std::numeric_limits<float>::quiet_NaN();   // the value of an empty slot
constexpr float kHashed = std::numeric_limits<float>::quiet_NaN();  // of an entry: the hash table has the value
static_assert(kMaxCodeColumns <= TableEntries::kMaxColumns);

// The shift after which a hash is below `size`, a power of two from 2 on. The mask changes no such result; it tells
// clang-tidy that the shift is below 32.
unsigned shift_for(std::size_t size) noexcept {
    return (32 - static_cast<unsigned>(std::countr_zero(size))) & 31;
}

}  // namespace

CodeTables::CodeTables(std::span<const CodeTable> tables) {
    for (const CodeTable& table : tables) {
        const std::uint32_t last = table.codes.empty() ? 0 : read_once(table.codes.back());
        slots_.emplace_back();
        others_.push_back(table.other);
        if (last <= kMaxCodeOfArray) {
            add_array(table, last);
        } else {
            add_hash_table(table);
        }
        ++entries_.n_columns;
    }
    entries_.values = values_.data();
}

// Adds n entries of the next column. Returns the first.
std::uint32_t CodeTables::add_entries(std::size_t n, float value) {
    const auto first = static_cast<std::uint32_t>(values_.size());
    values_.resize(first + n, value);
    entries_.firsts[entries_.n_columns] = first;
    entries_.lasts[entries_.n_columns] = static_cast<std::uint32_t>(n - 1);
    return first;
}

void CodeTables::add_array(const CodeTable& given, std::uint32_t last_code) {
    const std::uint32_t first = add_entries(last_code + 2, given.other);
    entries_.factors[entries_.n_columns] = 1;
    for (std::size_t i = 0; i < given.codes.size(); ++i) {
        // Another thread may have changed the code after it was checked.
        values_[first + std::min(read_once(given.codes[i]), last_code)] = given.values[i];
    }
}

void CodeTables::add_hash_table(const CodeTable& given) {
    const std::size_t n_entries = std::min(std::bit_ceil(kEntriesPerCode * given.codes.size()), kMaxHashEntries);
    const std::size_t column = entries_.n_columns;
    add_entries(n_entries, given.other);
    entries_.factors[column] = kHashFactor;
    entries_.shifts[column] = shift_for(n_entries);
    Slots& slots = slots_.back();
    slots.resize(std::bit_ceil(kSlotsPerCode * given.codes.size()), {0, kEmpty});
    for (std::size_t i = 0; i < given.codes.size(); ++i) {
        const std::uint32_t code = read_once(given.codes[i]);
        values_[entries_.find(column, code)] = kHashed;
        std::size_t at = code * kHashFactor >> shift_for(slots.size());
        while (!std::isnan(slots[at].value)) at = (at + 1) & (slots.size() - 1);
        slots[at] = {code, given.values[i]};
    }
}

void CodeTables::sum(const std::uint32_t* const* codes, const std::uint32_t* const* next, std::size_t n,
                     float* sums) const noexcept {
    std::uint64_t unknown[kTableRows / 64];
    kernels().sum_tables(entries_, codes, next, n, sums, unknown);
    for (std::size_t first = 0; first < kTableRows; first += 64) {
        for (std::uint64_t bits = unknown[first / 64]; bits != 0; bits &= bits - 1) {
            const std::size_t i = first + static_cast<std::size_t>(std::countr_zero(bits));
            sums[i] = sum_exactly(codes[i]);
        }
    }
}

float CodeTables::sum_exactly(const std::uint32_t* codes) const noexcept {
    float sum = 0.0f;
    for (std::size_t c = 0; c < entries_.n_columns; ++c) {
        sum += slots_[c].empty() ? values_[entries_.find(c, codes[c])] : find(c, codes[c]);
    }
    return sum;
}

float CodeTables::find(std::size_t column, std::uint32_t code) const noexcept {
    const Slots& slots = slots_[column];
    for (std::size_t at = code * kHashFactor >> shift_for(slots.size());; at = (at + 1) & (slots.size() - 1)) {
        if (std::isnan(slots[at].value)) return others_[column];
        if (slots[at].code == code) return slots[at].value;
    }
}

}  // namespace karec
