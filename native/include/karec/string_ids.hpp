// Ids that are strings: string → 63-bit number, and number → string.
//
// The number of a string is XXH64 of its bytes with the file's seed, without its lowest bit: whoever knows the seed
// knows the number of any string, of one that no file holds too. The file is for the way back. It is made so that no
// two of its strings have one number.
//
// A string that the file does not hold may have the number of one that it holds: among N held strings by chance once in
// 2^63 / N, and by intent, since XXH64 is no cryptographic hash. known() compares bytes.
//
// No function throws; each says with a Status what it refuses. What is open never changes: any function may run in any
// number of threads at once, on one StringIds and on its copies, which share the mapped file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::size_t kMostIdBytes = 256;

// N strings: string i is text[offsets[i] … offsets[i + 1]). 1 to 256 bytes of UTF-8 each. No string is read beyond the
// text, whatever the offsets say.
struct Strings {
    std::span<const std::int64_t> offsets;  // N + 1; none for N = 0
    std::span<const char> text;

    std::size_t size() const noexcept { return offsets.empty() ? 0 : offsets.size() - 1; }
};

// What the ids were before they became strings. The numbers stand in files: they never change.
enum class IdKind : std::uint32_t {
    numbers = 1,  // integers ≥ 0, which are their own numbers: the file holds no string
    strings = 2,
    int64 = 3,  // integers, as decimal digits
    uint64 = 4,
};

class KAREC_API StringIds {
  public:
    struct BuildOptions {
        IdKind kind = IdKind::strings;
        std::optional<std::uint64_t> seed;  // none: 0, or the first of 64 that gives each string a number of its own
    };

    // Writes a file, whole or not at all. Repeated strings are one. The same strings give the same bytes, in whatever
    // order they come. Expected O(N + bytes), with about 40 B a string and twice the text in memory.
    //
    // invalid_argument: a string that is empty, too long or no UTF-8, by position; two strings of one number, where the
    // seed is given or 64 seeds are tried; 2^32 strings or more. io_error: the file cannot be written.
    static Status build(const Strings& strings, const std::string& path, const BuildOptions& options) noexcept;

    // Maps a file. `verify` reads all of it: checksums, order, the number of each string. Without, header and sizes are
    // checked, and no call reads outside the file whatever it holds. bad_format, io_error.
    static Result<StringIds> open(const std::string& path, bool verify = true) noexcept;

    std::size_t size() const noexcept;  // strings
    std::uint64_t seed() const noexcept;
    IdKind kind() const noexcept;
    std::size_t bytes() const noexcept;  // of the file

    // out[i] = the number of string i, held or not. invalid_argument: as build, for strings and lengths. O(bytes).
    Status numbers(const Strings& strings, std::span<std::int64_t> out) const noexcept;

    // out[i] = whether the file holds string i. O(bytes), with four cache lines a string.
    Status known(const Strings& strings, std::span<bool> out) const noexcept;

    // out[i] = the string of numbers[i], in the mapped file: it lives as long as this object or a copy of it. Empty
    // where the file holds none. Four cache lines a number, those of many numbers fetched at once.
    // bad_format: a place in a file that was opened without `verify` lies outside of it.
    Status names(std::span<const std::int64_t> numbers, std::span<std::string_view> out) const noexcept;

    // All strings, by ascending number.
    Status all_names(std::span<std::string_view> out) const noexcept;

  private:
    struct Table;
    explicit StringIds(std::shared_ptr<const Table> table) noexcept;
    std::shared_ptr<const Table> table_;
};

}  // namespace karec
