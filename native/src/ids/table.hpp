// The contents of an id file, as spans into it, and the way from a number to its string.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "ids/layout.hpp"
#include "karec/status.hpp"

namespace karec::ids {

struct Contents {
    Header header{};
    std::span<const std::uint32_t> directory;
    std::span<const std::int64_t> numbers;
    std::span<const Place> places;
    std::span<const char> text;
};

// Spans into `file`, which starts at a multiple of 64. Refuses with bad_format what a build could not have written.
// Without `verify`: header, sizes and gaps alone, O(1).
Result<Contents> read_contents(std::span<const std::byte> file, bool verify);

// The string at place i < N; empty where it would lie outside the text, which a verified file does not say.
std::string_view text_at(const Contents& contents, std::size_t i) noexcept;

// For each of `wanted`: out[i] = its string, empty where there is none. False: a string would lie outside the text.
// No read leaves the file, whatever it holds. Numbers are looked up in groups, whose cache lines are fetched together.
bool look_up(const Contents& contents, std::span<const std::int64_t> wanted, std::span<std::string_view> out) noexcept;

}  // namespace karec::ids
