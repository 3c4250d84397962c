// StringIds maps strings to 63-bit numbers and back.
//
// The number of a string is XXH64 of its bytes with the seed of the file, without its lowest bit. The seed is enough to
// compute the number of any string, also of one that is not in the file. The file maps numbers back to strings. No two
// strings of a file have the same number.
//
// A string that is not in the file may have the number of a string that is: by chance with probability N / 2^63, or on
// purpose, since XXH64 is not a cryptographic hash. known() compares bytes.
//
// No function throws; errors are Statuses. An open file never changes: any number of threads may call any function of a
// StringIds and its copies, which share the mapped file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::size_t kMaxIdBytes = 256;

// N strings: string i is text[offsets[i] … offsets[i + 1]), 1 to kMaxIdBytes bytes of UTF-8. No read leaves the text,
// for any offsets.
struct Strings {
    std::span<const std::int64_t> offsets;  // N + 1; none for N = 0
    std::span<const char> text;

    std::size_t size() const noexcept { return offsets.empty() ? 0 : offsets.size() - 1; }
};

// The type of the ids before they became strings. The values are stored in files: they never change.
enum class IdKind : std::uint32_t {
    numbers = 1,  // integers ≥ 0, which are their own numbers: the file has no strings
    strings = 2,
    int64 = 3,  // integers, as decimal digits
    uint64 = 4,
};

class KAREC_API StringIds {
  public:
    // Writes a file, completely or not at all. Repeated strings are stored once; the same strings in any order give the
    // same bytes. The seed is the first of 64 fixed ones for which all numbers differ. Expected O(N + bytes),
    // with about 40 B per string and twice the text in memory.
    //
    // invalid_argument: a string that is empty, too long or not UTF-8, by position; a collision under all seeds; 2^32
    // strings or more. io_error: the file cannot be written.
    static Status build(const Strings& strings, const std::string& path, IdKind kind = IdKind::strings) noexcept;

    // Maps a file. `verify` reads all of it: checksums, order, the number of each string. Without it, header and sizes
    // are checked, and no call reads outside the file. bad_format, io_error.
    static Result<StringIds> open(const std::string& path, bool verify = true) noexcept;

    std::size_t size() const noexcept;  // number of strings
    std::uint64_t seed() const noexcept;
    IdKind kind() const noexcept;

    // out[i] = the number of string i. invalid_argument: as build, and lengths that differ. O(bytes).
    Status numbers(const Strings& strings, std::span<std::int64_t> out) const noexcept;

    // out[i] = true if string i is in the file. O(bytes), with four cache lines per string.
    Status known(const Strings& strings, std::span<bool> out) const noexcept;

    // out[i] = the string of numbers[i], empty if the file has none. The text is valid as long as this object or a copy
    // exists. Four cache lines per number, those of many numbers fetched together. bad_format: a file that was opened
    // without `verify` places a string outside its text.
    Status names(std::span<const std::int64_t> numbers, std::span<std::string_view> out) const noexcept;

  private:
    struct Table;
    explicit StringIds(std::shared_ptr<const Table> table) noexcept;
    std::shared_ptr<const Table> table_;
};

}  // namespace karec
