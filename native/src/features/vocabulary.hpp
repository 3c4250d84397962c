// Codes of the values of a category: 0 is missing, 1 … K are known values, and each other value has a code of its own.
//
// Source   G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014 (mix64), for
//          the codes of unknown values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/slots.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::int64_t kFirstUnseen = std::int64_t{1} << 62;  // codes from here on are of unknown values

// K distinct ids ≥ 0: keys()[k] has the code k + 1. Never changes: any number of threads may use one.
class Vocabulary {
  public:
    // invalid_argument: a negative or repeated key, or 2^30 keys or more. O(K).
    static Result<Vocabulary> from_keys(std::vector<std::int64_t> keys);

    std::span<const std::int64_t> keys() const noexcept { return keys_; }
    std::size_t size() const noexcept { return keys_.size(); }

    // 0 for a negative id, 1 … K for a known one, ≥ kFirstUnseen for any other. Equal ids have equal codes.
    std::int64_t code(std::int64_t id) const noexcept;
    // The code of a known id, 0 for any other.
    std::int64_t known_code(std::int64_t id) const noexcept;

    Vocabulary() = default;                       // without keys
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
