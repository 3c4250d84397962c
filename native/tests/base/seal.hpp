// For tests that alter section files: offsets of fields, and new checksums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/xxh64.hpp"

namespace karec {

template <class T>
T& at(std::vector<char>& bytes, std::size_t offset) {
    return *reinterpret_cast<T*>(bytes.data() + offset);
}

// Offsets in the header and in the entry of section s.
inline constexpr std::size_t kFileBytes = 16, kFields = 24, kNSections = 56, kChecksum = 64;
inline constexpr std::size_t kNRows = 24, kDim = 32;  // of an index file
inline std::size_t entry(std::size_t s) {
    return 128 + 128 * s;
}

// Bytes of header and table; of the file, where the table would be longer.
inline std::size_t table_bytes(std::vector<char>& bytes) {
    const auto n_sections = at<std::uint64_t>(bytes, kNSections);
    return n_sections < bytes.size() / 128 ? entry(n_sections) : bytes.size();
}

// Writes new checksums, so that only later checks can refuse the file.
inline void seal(std::vector<char>& bytes) {
    if (bytes.size() < entry(0)) return;
    const auto n_sections = at<std::uint64_t>(bytes, kNSections);
    for (std::size_t s = 0; s < n_sections && entry(s) + 128 <= bytes.size(); ++s) {
        const auto offset = at<std::uint64_t>(bytes, entry(s) + 8);
        const auto size = at<std::uint64_t>(bytes, entry(s) + 16);
        if (offset > bytes.size() || size > bytes.size() - offset) continue;
        at<std::uint64_t>(bytes, entry(s) + 24) = xxh64(std::as_bytes(std::span(bytes).subspan(offset, size)));
    }
    at<std::uint64_t>(bytes, kChecksum) = 0;
    at<std::uint64_t>(bytes, kChecksum) = xxh64(std::as_bytes(std::span(bytes).first(table_bytes(bytes))));
}

}  // namespace karec
