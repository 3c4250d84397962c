// The structs of an index file; index_file.hpp says in which order they follow each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/xxh64.hpp"
#include "index/file/index_file.hpp"

namespace karec {

inline constexpr char kMagic[8] = {'k', 'a', 'r', 'e', 'c', 'i', 'd', 'x'};
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kByteOrder = 0x01020304;
inline constexpr std::size_t kAlign = 64;

struct FileHeader {
    char magic[8];
    std::uint32_t version;
    std::uint32_t byte_order;
    std::uint64_t file_bytes;
    std::uint64_t n_rows;
    std::uint32_t dim;
    std::uint32_t dtype;
    std::int64_t model_version;
    std::uint64_t generation;
    std::uint64_t n_sections;
    std::uint64_t checksum;
    std::uint64_t reserved[7];  // zero
};
static_assert(sizeof(FileHeader) == 128);

enum SectionKind : std::uint32_t {
    kIds = 1,
    kRows = 2,
    kIdMap = 3,
    kColumn = 4,
    kScales = 5,
    kExact = 6,
    kVersions = 7,
    kCodes = 8,
    kAdjustments = 9,
    kBlocked = 10,
    kCentroids = 11,
    kLists = 12,
    kSpaces = 13,
};

// What the file says of the vectors of one model version.
struct SpaceEntry {
    std::uint64_t space_id;
    float scale;
    float offset;
};
static_assert(sizeof(SpaceEntry) == 16);

struct SectionEntry {
    std::uint32_t kind;
    std::uint32_t dtype;  // of a column; 0 for the others
    std::uint64_t offset;
    std::uint64_t bytes;
    std::uint64_t checksum;
    char name[kMaxColumnName + 1];  // of a column, padded with zeros; empty for the others
};
static_assert(sizeof(SectionEntry) == 128);

inline std::uint64_t aligned(std::uint64_t offset) noexcept {
    return (offset + kAlign - 1) / kAlign * kAlign;
}

inline std::uint64_t table_checksum(FileHeader header, std::span<const std::byte> table) noexcept {
    header.checksum = 0;
    Xxh64 sum;
    sum.update(std::as_bytes(std::span(&header, 1)));
    sum.update(table);
    return sum.digest();
}

}  // namespace karec
