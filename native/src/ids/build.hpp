// Strings → the sections of an id file, and the file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ids/layout.hpp"
#include "karec/string_ids.hpp"

namespace karec::ids {

// A copy of the caller's strings, checked: what is hashed is what is written.
struct CheckedText {
    struct Piece {
        std::uint64_t begin;
        std::uint32_t bytes;
    };
    std::vector<char> text;
    std::vector<Piece> pieces;
};
Result<CheckedText> check_text(const Strings& strings);

struct Sections {
    std::vector<std::uint32_t> directory;
    std::vector<std::int64_t> numbers;
    std::vector<Place> places;
    std::vector<char> text;
};

// The sections under that seed. invalid_argument: two strings have one number; the message names both.
//
// Strings are counted by their number's top bits, put into place by those, and sorted within a bucket of about eight:
// O(N) expected, as XXH64 spreads strings evenly.
Result<Sections> build_sections(const CheckedText& given, std::uint64_t seed);

// Writes the file (AtomicFile) and syncs its folder.
Status write_sections(const std::string& path, const Sections& sections, IdKind kind, std::uint64_t seed);

}  // namespace karec::ids
