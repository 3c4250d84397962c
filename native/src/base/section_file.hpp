// Files of checked sections: the layout that the index file and the id file share.
//
//   SectionFileHeader (128 bytes) · SectionEntry × n_sections (128 bytes each) · sections, in the order of the table
//
// Little-endian and memory-mapped. Each section begins at a multiple of 64, the gap before it is zero, and the file
// ends with the last section. Checksums are XXH64 with seed 0: one of header and table (with `checksum` = 0), and one
// of each section. So every byte is covered by a check.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "karec/status.hpp"

namespace karec {

// Four numbers that each kind of file defines for itself.
using FileFields = std::array<std::uint64_t, 4>;

struct SectionFileHeader {
    char magic[8];
    std::uint32_t version;
    std::uint32_t byte_order;
    std::uint64_t file_bytes;
    FileFields fields;
    std::uint64_t n_sections;
    std::uint64_t checksum;
    std::uint64_t reserved[7];  // zero
};
static_assert(sizeof(SectionFileHeader) == 128);

inline constexpr std::size_t kMaxSectionName = 95;  // bytes of UTF-8

struct SectionEntry {
    std::uint32_t kind;
    std::uint32_t dtype;  // DType of the elements, or 0
    std::uint64_t offset;
    std::uint64_t bytes;
    std::uint64_t checksum;
    char name[kMaxSectionName + 1];  // padded with zeros
};
static_assert(sizeof(SectionEntry) == 128);

// A kind of file.
struct FileKind {
    std::string_view noun;   // in messages, "index file"
    std::string_view magic;  // 8 bytes
    std::uint32_t version;   // the one that is read and written
};

// A section of an open file, as a span into it.
struct FileSection {
    std::uint32_t kind = 0;
    std::uint32_t dtype = 0;
    std::string_view name;
    std::span<const std::byte> bytes;
};

struct SectionFile {
    FileFields fields;
    std::vector<FileSection> sections;
};

// A section to write: its bytes in order, in pieces that the caller owns.
struct NewSection {
    std::uint32_t kind = 0;
    std::uint32_t dtype = 0;
    std::vector<std::span<const std::byte>> pieces;
    std::string_view name = {};  // at most kMaxSectionName bytes
};

// bad_format: "damaged karec <noun>: <reason>".
Status damaged_file(const FileKind& kind, const std::string& reason);

// Spans into `file`, which starts at a multiple of 64 and outlives them. bad_format: another kind or version of file, a
// truncated or an altered one. With `verify`, O(file); without, sections are not read, only the gaps between them.
Result<SectionFile> read_section_file(std::span<const std::byte> file, const FileKind& kind, bool verify);

// Writes the file (AtomicFile) and syncs its folder. io_error: it cannot be written, or `path` is not a regular file.
Status write_section_file(const std::string& path, const FileKind& kind, const FileFields& fields,
                          std::span<const NewSection> sections);

// The elements of a section, whose size the caller has checked.
template <class T>
std::span<const T> to_elements(std::span<const std::byte> bytes) noexcept {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

}  // namespace karec
