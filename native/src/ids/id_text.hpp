// One id's text: read out of the caller's strings, checked, shown in messages.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "karec/string_ids.hpp"

namespace karec::ids {

// Whether the bytes are UTF-8 as Unicode defines it: no surrogates, no longer forms, nothing above U+10FFFF. O(bytes).
bool is_utf8(std::span<const char> text) noexcept;

// The first 24 bytes or less, for a message: whole characters, control characters and what is no UTF-8 as \xNN.
std::string start_of(std::span<const char> text);

// String i, its offsets read once. invalid_argument: they leave the text or fall, or the string is empty, too long or
// no UTF-8; the message names the position and the string's start.
Status read_id(const Strings& strings, std::size_t i, std::span<const char>& text);

}  // namespace karec::ids
