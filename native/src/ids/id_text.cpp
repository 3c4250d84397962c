#include "ids/id_text.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/read_once.hpp"

namespace karec::ids {
namespace {

// Bytes of the character that begins at text[at]; 0 if there is none.
std::size_t character_at(std::span<const char> text, std::size_t at) noexcept {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[at + k]); };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    const std::size_t length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length == 0 || length > text.size() - at) return 0;
    // The second byte's range excludes overlong forms, surrogates and code points above U+10FFFF.
    const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (byte(1) < low || byte(1) > high) return 0;
    for (std::size_t k = 2; k < length; ++k) {
        if (byte(k) < 0x80 || byte(k) > 0xBF) return 0;
    }
    return length;
}

}  // namespace

bool is_utf8(std::span<const char> text) noexcept {
    std::size_t at = 0;
    while (at < text.size()) {
        if (text.size() - at >= 8) {
            std::uint64_t word = 0;
            std::memcpy(&word, text.data() + at, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                at += 8;
                continue;
            }
        }
        const std::size_t length = character_at(text, at);
        if (length == 0) return false;
        at += length;
    }
    return true;
}

std::string shorten(std::span<const char> text) {
    constexpr std::size_t kMaxShown = 24;
    constexpr char kDigits[] = "0123456789abcdef";
    std::string shown;
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t length = character_at(text, at);
        if (at + std::max<std::size_t>(length, 1) > kMaxShown) return shown + "…";
        const auto byte = static_cast<unsigned char>(text[at]);
        if (length == 0 || byte < 0x20 || byte == 0x7F) {
            shown += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
            ++at;
        } else {
            shown.append(text.data() + at, length);
            at += length;
        }
    }
    return shown;
}

Status read_id(const Strings& strings, std::size_t i, std::span<const char>& text) {
    const std::int64_t begin = read_once(strings.offsets[i]);
    const std::int64_t end = read_once(strings.offsets[i + 1]);
    const auto bytes = static_cast<std::int64_t>(strings.text.size());
    const auto place = [i] { return " at position " + std::to_string(i); };
    if (begin < 0 || end < begin || end > bytes) {
        return Status::invalid("offsets hold " + std::to_string(begin) + " and " + std::to_string(end) + place() +
                               ", expected them to rise within the " + std::to_string(bytes) + " bytes of text");
    }
    text = strings.text.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    if (text.empty()) {
        return Status::invalid("ids hold an empty string" + place() + ", expected 1 to " + std::to_string(kMaxIdBytes) +
                               " bytes");
    }
    if (text.size() > kMaxIdBytes) {
        return Status::invalid("ids hold a string of " + std::to_string(text.size()) + " bytes" + place() + ", '" +
                               shorten(text) + "', expected 1 to " + std::to_string(kMaxIdBytes));
    }
    if (!is_utf8(text)) {
        return Status::invalid("ids hold bytes that are not UTF-8" + place() + ": '" + shorten(text) + "'");
    }
    return {};
}

}  // namespace karec::ids
