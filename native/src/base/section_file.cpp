#include "base/section_file.hpp"

#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/atomic_file.hpp"
#include "base/xxh64.hpp"

namespace karec {
namespace {

constexpr std::uint32_t kByteOrder = 0x01020304;
constexpr std::size_t kAlignment = 64;

std::uint64_t align(std::uint64_t offset) noexcept {
    return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

std::uint64_t table_checksum(SectionFileHeader header, std::span<const std::byte> table) noexcept {
    header.checksum = 0;
    Xxh64 sum;
    sum.update(std::as_bytes(std::span(&header, 1)));
    sum.update(table);
    return sum.digest();
}

// Reads the header and checks it, with the checksum of the table.
Status read_header(std::span<const std::byte> file, const FileKind& kind, SectionFileHeader& header) {
    if (file.size() < sizeof header) {
        return damaged_file(
            kind, "it has " + std::to_string(file.size()) + " bytes, the header has " + std::to_string(sizeof header));
    }
    std::memcpy(&header, file.data(), sizeof header);
    if (std::string_view(header.magic, sizeof header.magic) != kind.magic) {
        return damaged_file(kind, "it does not begin with '" + std::string(kind.magic) + "'");
    }
    if (header.byte_order != kByteOrder) return damaged_file(kind, "its byte order is foreign");
    if (header.version != kind.version) {
        return Status::bad_format("the " + std::string(kind.noun) + " has version " + std::to_string(header.version) +
                                  ", this karec reads version " + std::to_string(kind.version) + ": build it again");
    }
    if (header.file_bytes != file.size()) {
        return damaged_file(kind, "it has " + std::to_string(file.size()) + " bytes, its header declares " +
                                      std::to_string(header.file_bytes));
    }
    if (header.n_sections > (file.size() - sizeof header) / sizeof(SectionEntry)) {
        return damaged_file(kind, "its header declares " + std::to_string(header.n_sections) + " sections");
    }
    const auto table = file.subspan(sizeof header, header.n_sections * sizeof(SectionEntry));
    if (table_checksum(header, table) != header.checksum) {
        return damaged_file(kind, "header or section table is altered");
    }
    for (const std::uint64_t word : header.reserved) {
        if (word != 0) return damaged_file(kind, "its header has unknown fields");
    }
    return {};
}

}  // namespace

Status damaged_file(const FileKind& kind, const std::string& reason) {
    return Status::bad_format("damaged karec " + std::string(kind.noun) + ": " + reason);
}

Result<SectionFile> read_section_file(std::span<const std::byte> file, const FileKind& kind, bool verify) {
    SectionFileHeader header;
    if (Status status = read_header(file, kind, header); !status.ok()) return status;
    const std::size_t table_bytes = header.n_sections * sizeof(SectionEntry);
    SectionFile contents{header.fields, {}};
    std::uint64_t end = sizeof header + table_bytes;
    for (const SectionEntry& entry : to_elements<SectionEntry>(file.subspan(sizeof header, table_bytes))) {
        const std::uint64_t begin = align(end);
        if (entry.offset != begin || begin > file.size() || entry.bytes > file.size() - begin) {
            return damaged_file(kind, "the offset or size of a section does not fit");
        }
        for (; end < begin; ++end) {
            if (file[end] == std::byte{0}) continue;
            return damaged_file(kind, "the gap at byte " + std::to_string(end) + " is altered");
        }
        const auto bytes = file.subspan(begin, entry.bytes);
        if (verify && xxh64(bytes) != entry.checksum) {
            return damaged_file(kind, "the section at byte " + std::to_string(begin) + " is altered");
        }
        const std::size_t length = ::strnlen(entry.name, sizeof entry.name);
        contents.sections.push_back({entry.kind, entry.dtype, {entry.name, length}, bytes});
        end = begin + entry.bytes;
    }
    if (end != file.size()) return damaged_file(kind, "its last section ends before the file");
    return contents;
}

Status write_section_file(const std::string& path, const FileKind& kind, const FileFields& fields,
                          std::span<const NewSection> sections) {
    std::vector<SectionEntry> table(sections.size());
    std::uint64_t end = sizeof(SectionFileHeader) + sections.size() * sizeof(SectionEntry);
    for (std::size_t s = 0; s < sections.size(); ++s) {
        SectionEntry& entry = table[s];
        entry.kind = sections[s].kind;
        entry.dtype = sections[s].dtype;
        sections[s].name.copy(entry.name, kMaxSectionName);
        entry.offset = align(end);
        Xxh64 sum;
        for (const auto piece : sections[s].pieces) {
            entry.bytes += piece.size();
            sum.update(piece);
        }
        entry.checksum = sum.digest();
        end = entry.offset + entry.bytes;
    }
    SectionFileHeader header{};
    kind.magic.copy(header.magic, sizeof header.magic);
    header.version = kind.version;
    header.byte_order = kByteOrder;
    header.file_bytes = end;
    header.fields = fields;
    header.n_sections = table.size();
    header.checksum = table_checksum(header, std::as_bytes(std::span(table)));

    AtomicFile file(path);
    const auto append_all = [&] {
        if (!file.opened() || !file.append(std::as_bytes(std::span(&header, 1)))) return false;
        if (!file.append(std::as_bytes(std::span(table)))) return false;
        std::uint64_t written = sizeof header + table.size() * sizeof(SectionEntry);
        for (std::size_t s = 0; s < table.size(); ++s) {
            const std::byte zeros[kAlignment] = {};
            if (!file.append({zeros, table[s].offset - written})) return false;
            for (const auto piece : sections[s].pieces) {
                if (!file.append(piece)) return false;
            }
            written = table[s].offset + table[s].bytes;
        }
        return file.publish();
    };
    if (append_all()) return {};
    const int error = errno;
    const std::string reason = error == EEXIST ? "it is not a regular file, so it is not replaced; move it away"
                                               : std::system_category().message(error);
    return Status{Code::io_error, "cannot write '" + path + "': " + reason, error};
}

}  // namespace karec
