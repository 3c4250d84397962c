// Reads the text of one id from the caller's strings, checks it, and shortens it for messages.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "karec/string_ids.hpp"

namespace karec::ids {

// Returns whether the bytes are UTF-8 as Unicode defines it: no surrogates, no overlong forms, nothing above U+10FFFF.
bool is_utf8(std::span<const char> text) noexcept;

// At most the first 24 bytes, for a message: whole characters; control characters and bytes that are not UTF-8 as \xNN.
std::string shorten(std::span<const char> text);

// text = string i; its offsets are read once. invalid_argument: offsets that leave the text or decrease, and a string
// that is empty, too long or not UTF-8; the message names the position and the start of the string.
Status read_id(const Strings& strings, std::size_t i, std::span<const char>& text);

}  // namespace karec::ids
