// CodeMap is a hash table of values by code. A request fills it once and asks once for each item.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/scratch.hpp"

namespace karec {

template <class Value>
class CodeMap {
  public:
    struct Entry {
        std::int64_t code = 0;  // 0: an empty slot
        Value value;
    };

    // Removes all entries and makes room for n.
    void reset(std::size_t n) {
        while ((std::size_t{1} << bits_) < 2 * n) ++bits_;
        slots_.assign(std::size_t{1} << bits_, Entry{});
    }
    // The value of a code other than 0, added if it is missing.
    Value& add(std::int64_t code) noexcept {
        Entry& entry = slots_[find_slot(code)];
        entry.code = code;
        return entry.value;
    }
    // The entry of a code other than 0; its code is 0 if it is missing.
    const Entry& find(std::int64_t code) const noexcept { return slots_[find_slot(code)]; }

    ScratchVector<Entry>& slots() noexcept { return slots_; }

  private:
    std::size_t find_slot(std::int64_t code) const noexcept {
        std::size_t slot = (static_cast<std::uint64_t>(code) * 0x9E3779B97F4A7C15) >> (64 - bits_);
        while (slots_[slot].code != 0 && slots_[slot].code != code) slot = (slot + 1) & (slots_.size() - 1);
        return slot;
    }

    int bits_ = 1;
    ScratchVector<Entry> slots_;
};

}  // namespace karec
