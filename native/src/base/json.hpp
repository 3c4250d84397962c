// JSON, read whole: the heads that Python writes into a bundle.
//
// Refuses (bad_format) what RFC 8259 does not allow, more than 16 MiB, more than 64 levels, and numbers that a double
// does not hold. O(bytes), and some 30 times the bytes of memory at most.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "karec/status.hpp"

namespace karec {

struct JsonMember;

struct Json {
    enum class Kind { null, boolean, number, text, list, object };

    Kind kind = Kind::null;
    bool boolean = false;
    double number = 0.0;
    std::optional<std::int64_t> whole;  // where the number is written without point and exponent, and fits
    std::string text;                   // UTF-8
    std::vector<Json> list;
    std::vector<JsonMember> object;  // in the order of the text

    // The last member of that name, as Python's json takes it; nullptr where there is none, or this is no object.
    const Json* find(std::string_view name) const noexcept;
};

// A pair would ask whether a Json has a default constructor before it is complete.
struct JsonMember {
    std::string first;
    Json second;
};

Result<Json> read_json(std::string_view text);

}  // namespace karec
