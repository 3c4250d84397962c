// Builds, writes, reads and searches the id file: a section file (base/section_file.hpp) of kind kIdFile.
//
// Fields: N strings, IdKind, seed, 0. Sections, by number:
//   1 directory  uint32 × (2^bits + 1): position in `numbers` of the first whose top `bits` bits are at least b; 2^bits
//                is between N/8 and N/4, so that a bucket's numbers are in one or two cache lines
//   2 numbers    int64 × N, ascending
//   3 places     32 bytes for each 24 strings: the offset of the first in the text, and the length − 1 of each
//   4 text       the strings, in the order of the numbers, without separators
// 10 to 11 bytes a string, without its text. A file of kind `numbers` has no strings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/section_file.hpp"
#include "base/xxh64.hpp"
#include "karec/status.hpp"
#include "karec/string_ids.hpp"

namespace karec::ids {

inline constexpr FileKind kIdFile{"id file", "karecids", 1};
inline constexpr std::size_t kSections = 4;
inline constexpr std::uint64_t kMaxStrings = 0xFFFFFFFFu;

// 24 strings: half a cache line.
struct Place {
    static constexpr std::size_t kStrings = 24;
    std::uint64_t begin;
    std::uint8_t last[kStrings];  // length − 1; 0 after the last string
};
static_assert(sizeof(Place) == 32);

// The number of top bits in the directory of n strings.
constexpr std::uint32_t directory_bits(std::uint64_t n) noexcept {
    std::uint32_t bits = 0;
    while (bits < 30 && (std::uint64_t{8} << bits) < n) ++bits;
    return bits;
}

constexpr std::uint64_t bucket_of(std::int64_t number, std::uint32_t bits) noexcept {
    return bits == 0 ? 0 : static_cast<std::uint64_t>(number) >> (63 - bits);
}

// The number of a string: never negative, since a negative id means "none" in rows and histories.
inline std::int64_t hash_string(std::span<const char> text, std::uint64_t seed) noexcept {
    return static_cast<std::int64_t>(xxh64(std::as_bytes(text), seed) >> 1);
}

// The contents of a file, as spans into it.
struct Contents {
    IdKind kind = IdKind::strings;
    std::uint64_t seed = 0;
    std::uint32_t bits = 0;  // of the directory
    std::span<const std::uint32_t> directory;
    std::span<const std::int64_t> numbers;
    std::span<const Place> places;
    std::span<const char> text;
};

// Spans into `file`, which starts at a multiple of 64. bad_format: a file that write_sections cannot have written.
// Without `verify` only header, sizes and gaps are checked, O(1).
Result<Contents> read_contents(std::span<const std::byte> file, bool verify);

// String i < N; empty if it is outside the text, which is impossible in a verified file.
std::string_view string_at(const Contents& contents, std::size_t i) noexcept;

// out[i] = the string of wanted[i], empty if it is missing. Returns false if a string is outside the text. No read
// leaves the file. Numbers are looked up in groups, whose cache lines are fetched together.
bool find_strings(const Contents& contents, std::span<const std::int64_t> wanted,
                  std::span<std::string_view> out) noexcept;

// A checked copy of the caller's strings: the bytes that are hashed are the bytes that are written.
struct CheckedText {
    std::vector<char> text;
    std::vector<std::uint64_t> ends;  // string i ends at ends[i], where the next one begins

    std::size_t size() const noexcept { return ends.size(); }
    std::string_view string(std::size_t i) const noexcept {
        const std::uint64_t begin = i == 0 ? 0 : ends[i - 1];
        return {text.data() + begin, ends[i] - begin};
    }
};
Result<CheckedText> check_text(const Strings& strings);

struct Sections {
    std::vector<std::uint32_t> directory;
    std::vector<std::int64_t> numbers;
    std::vector<Place> places;
    std::vector<char> text;
};

// The sections under a seed. invalid_argument: two strings have the same number; the message names both.
//
// Strings are sorted by the top bits of their number, then within a bucket of about eight: O(N) expected, as XXH64
// spreads strings evenly.
Result<Sections> build_sections(const CheckedText& strings, std::uint64_t seed);

// Writes the file and syncs its folder.
Status write_sections(const std::string& path, const Sections& sections, IdKind kind, std::uint64_t seed);

}  // namespace karec::ids
