// Small text files that Python writes for C++ hosts: lines of words and fields; the last line is a checksum of the
// rest.
//
//   karec-prerank 1                            kind and format
//   step quota column=creator_id at_most=20    a word, perhaps a value, then fields in any order, each once
//   seal 0123456789abcdef                      XXH64 of every byte before this line
//
// One space between parts, one newline a line. In values every byte but A–Z a–z 0–9 . _ + - / is %XX. A file is at most
// 16 MiB. Anything else is refused with the number of the line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "karec/status.hpp"

namespace karec {

struct SealedLine {
    std::size_t number = 0;  // from 1
    std::string word;
    std::string value;
    std::vector<std::pair<std::string, std::string>> fields;

    // nullptr where there is no such field.
    const std::string* find(std::string_view name) const noexcept;
    Status refused(const std::string& why) const;
};

// The lines between the first and the seal. Refuses (bad_format) a text whose first line is not "<kind> 1".
Result<std::vector<SealedLine>> read_sealed_text(std::string_view text, std::string_view kind);
Result<std::vector<SealedLine>> read_sealed_file(const std::string& path, std::string_view kind);

// All of `text` as a number; bad_format for anything else and for numbers out of range.
Result<std::int64_t> whole_number(std::string_view text);
Result<double> finite_number(std::string_view text);
Result<std::uint64_t> hexadecimal(std::string_view text);  // 16 lower-case digits

}  // namespace karec
