// The id file, version 1: little-endian, memory-mapped; every byte is covered by a check.
//
//   Header (128 bytes) · directory · numbers · places · text
//
//   directory  uint32 × (2^bits + 1): where in `numbers` those begin whose top `bits` bits are at least b; 2^bits is
//              between N/8 and N/4, so that a bucket's numbers lie in one or two cache lines
//   numbers    int64 × N, ascending
//   places     32 bytes for each 24 strings: where the first begins in the text, and each one's length − 1
//   text       the strings, in the numbers' order, nothing between them
//
// 10 to 11 bytes a string beside its text. Each section begins at a multiple of 64, the gap before it holds zeros, and
// the file ends with the text. Checksums are XXH64 with seed 0: of the header (with its checksum taken as zero), and of
// each section. A file of kind `numbers` is a header, and a directory for no strings.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/xxh64.hpp"

namespace karec::ids {

inline constexpr char kMagic[8] = {'k', 'a', 'r', 'e', 'c', 'i', 'd', 's'};
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kByteOrder = 0x01020304;
inline constexpr std::size_t kAlign = 64;
inline constexpr std::size_t kSections = 4;
inline constexpr std::uint32_t kMostBits = 30;
inline constexpr std::uint64_t kMostStrings = 0xFFFFFFFFu;

struct Header {
    char magic[8];
    std::uint32_t version;
    std::uint32_t byte_order;
    std::uint64_t file_bytes;
    std::uint64_t n;
    std::uint32_t kind;
    std::uint32_t bits;
    std::uint64_t seed;
    std::uint64_t text_bytes;
    std::uint64_t checksum;
    std::uint64_t sums[kSections];
    std::uint64_t reserved[4];  // zero
};
static_assert(sizeof(Header) == 128);

// 24 strings: half a cache line.
struct Place {
    static constexpr std::size_t kStrings = 24;
    std::uint64_t begin;
    std::uint8_t last[kStrings];  // length − 1; 0 behind the last string
};
static_assert(sizeof(Place) == 32);

// Top bits that the directory is of.
constexpr std::uint32_t bits_for(std::uint64_t n) noexcept {
    std::uint32_t bits = 0;
    while (bits < kMostBits && (std::uint64_t{8} << bits) < n) ++bits;
    return bits;
}

constexpr std::uint64_t bucket_of(std::uint64_t number, std::uint32_t bits) noexcept {
    return bits == 0 ? 0 : number >> (63 - bits);
}

struct Extent {
    std::uint64_t begin;
    std::uint64_t bytes;
};

// Where the sections lie. Sizes that a header may hold (n < 2^32, text below 2^60) do not overflow.
constexpr std::array<Extent, kSections> extents_of(const Header& header) noexcept {
    const std::uint64_t sizes[kSections] = {
        ((std::uint64_t{1} << header.bits) + 1) * sizeof(std::uint32_t), header.n * sizeof(std::int64_t),
        (header.n + Place::kStrings - 1) / Place::kStrings * sizeof(Place), header.text_bytes};
    std::array<Extent, kSections> extents{};
    std::uint64_t end = sizeof(Header);
    for (std::size_t s = 0; s < kSections; ++s) {
        extents[s] = {(end + kAlign - 1) / kAlign * kAlign, sizes[s]};
        end = extents[s].begin + sizes[s];
    }
    return extents;
}

inline std::uint64_t checksum_of(Header header) noexcept {
    header.checksum = 0;
    return xxh64(std::as_bytes(std::span(&header, 1)));
}

// The number of a string: never negative, since a negative id means "none" in rows and histories.
inline std::int64_t number_of(std::span<const char> text, std::uint64_t seed) noexcept {
    return static_cast<std::int64_t>(xxh64(std::as_bytes(text), seed) >> 1);
}

}  // namespace karec::ids
