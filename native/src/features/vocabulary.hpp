// Codes of a category's values: 0 is missing, 1 … K are the known ones, and any other value has one of its own.
//
// Source   G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014 (mix64), for
//          the codes of values that are not known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "features/id_slots.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::int64_t kFirstUnseen = std::int64_t{1} << 62;  // codes from here on: values that are not known

// K distinct non-negative ids: keys()[k] has the code k + 1. Never changes: any number of threads may use one.
class Vocabulary {
  public:
    // Refuses a negative or repeated key, and 2^30 keys or more. O(K).
    static Result<Vocabulary> of(std::vector<std::int64_t> keys);

    std::span<const std::int64_t> keys() const noexcept { return keys_; }
    std::size_t size() const noexcept { return keys_.size(); }

    // 0 for a negative id; 1 … K for a known one; ≥ kFirstUnseen for any other: equal ids have equal codes.
    std::int64_t code(std::int64_t id) const noexcept;
    // The same, but 0 for every id that is not known.
    std::int64_t known_code(std::int64_t id) const noexcept;

    Vocabulary(Vocabulary&&) noexcept = default;  // the table points into keys_, whose elements do not move
    Vocabulary& operator=(Vocabulary&&) noexcept = default;
    Vocabulary(const Vocabulary&) = delete;
    Vocabulary& operator=(const Vocabulary&) = delete;
    ~Vocabulary() = default;

  private:
    Vocabulary(std::vector<std::int64_t> keys, IdSlots slots) noexcept;
    std::vector<std::int64_t> keys_;
    IdSlots slots_;
};

}  // namespace karec
