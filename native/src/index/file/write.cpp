// Generation → index file, in two passes: checksums, then writing.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/atomic_file.hpp"
#include "index/file/layout.hpp"

namespace karec {
namespace {

template <class T>
std::vector<std::span<const std::byte>> bytes_of_pieces(const PagedArray<T>& pages) {
    std::vector<std::span<const std::byte>> pieces;
    for (const std::span<const T> piece : pages.segments()) pieces.push_back(std::as_bytes(piece));
    return pieces;
}

struct Section {
    SectionEntry entry{};
    std::vector<std::span<const std::byte>> pieces;
};

std::vector<Section> sections_of(const Generation& g, const std::vector<std::int64_t>& versions,
                                 const std::vector<std::uint64_t>& blocked, const std::vector<std::int64_t>& lists,
                                 const std::vector<SpaceEntry>& spaces) {
    std::vector<Section> sections;
    const auto add = [&](std::uint32_t kind, std::vector<std::span<const std::byte>> pieces) -> SectionEntry& {
        Section& section = sections.emplace_back();
        section.entry.kind = kind;
        section.pieces = std::move(pieces);
        return section.entry;
    };
    add(kIds, bytes_of_pieces(g.ids));
    add(kRows, bytes_of_pieces(g.rows));
    add(kIdMap, bytes_of_pieces(g.id_map.buckets()));
    if (g.format.dtype == DType::int8) add(kScales, bytes_of_pieces(g.scales));
    if (g.keeps_exact) add(kExact, bytes_of_pieces(g.exact));
    if (versions.size() > 1) {
        add(kVersions, {std::as_bytes(std::span(versions))});
        add(kCodes, bytes_of_pieces(g.codes));
    }
    if (!g.adjustments.empty()) add(kAdjustments, bytes_of_pieces(g.adjustments));
    if (!blocked.empty()) add(kBlocked, {std::as_bytes(std::span(blocked))});
    if (!lists.empty()) {
        add(kCentroids, {std::as_bytes(std::span(g.lists->centroids))});
        add(kLists, {std::as_bytes(std::span(lists))});
    }
    if (!spaces.empty()) add(kSpaces, {std::as_bytes(std::span(spaces))});
    for (const PagedColumn& column : g.columns) {
        SectionEntry& entry = add(kColumn, bytes_of_pieces(column.values));
        entry.dtype = static_cast<std::uint32_t>(column.dtype);
        column.name.copy(entry.name, kMaxColumnName);
    }
    std::uint64_t end = sizeof(FileHeader) + sections.size() * sizeof(SectionEntry);
    for (Section& section : sections) {
        section.entry.offset = aligned(end);
        Xxh64 sum;
        for (const auto piece : section.pieces) {
            section.entry.bytes += piece.size();
            sum.update(piece);
        }
        section.entry.checksum = sum.digest();
        end = section.entry.offset + section.entry.bytes;
    }
    return sections;
}

}  // namespace

Status write_index(const std::string& path, const Generation& g) {
    std::vector<std::int64_t> versions;
    versions.reserve(g.n_codes);
    for (const ModelVersion& version : g.used_versions()) versions.push_back(version.number);
    std::vector<std::uint64_t> blocked(g.blocked.empty() ? 0 : (g.n_rows() + 63) / 64);
    for (std::size_t word = 0; word < std::min(blocked.size(), g.blocked.words().size()); ++word) {
        blocked[word] = *g.blocked.words().at(word);
    }
    std::vector<std::int64_t> lists;
    if (g.lists != nullptr) {
        lists.push_back(g.lists->model_version);
        lists.insert(lists.end(), g.lists->ends.begin(), g.lists->ends.end());
    }
    std::vector<SpaceEntry> spaces;
    const auto is_said = [](const ModelVersion& version) { return version.space_id != 0 || version.is_calibrated(); };
    if (std::ranges::any_of(g.used_versions(), is_said)) {
        for (const ModelVersion& each : g.used_versions()) spaces.push_back({each.space_id, each.scale, each.offset});
    }
    const std::vector<Section> sections = sections_of(g, versions, blocked, lists, spaces);
    std::vector<SectionEntry> table;
    table.reserve(sections.size());
    for (const Section& section : sections) table.push_back(section.entry);
    FileHeader header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersion;
    header.byte_order = kByteOrder;
    header.file_bytes = table.back().offset + table.back().bytes;
    header.n_rows = g.n_rows();
    header.dim = static_cast<std::uint32_t>(g.format.dim);
    header.dtype = static_cast<std::uint32_t>(g.format.dtype);
    header.model_version = g.model_version;
    header.generation = g.number;
    header.n_sections = table.size();
    header.checksum = table_checksum(header, std::as_bytes(std::span(table)));

    const auto refused = [&path] {
        const int error = errno;
        const std::string why = error == EEXIST ? "it is not a regular file, so it is not replaced; move it away"
                                                : std::system_category().message(error);
        return Status{Code::io_error, "cannot write '" + path + "': " + why, error};
    };
    AtomicFile file(path);
    if (!file.opened() || !file.append(std::as_bytes(std::span(&header, 1))) ||
        !file.append(std::as_bytes(std::span(table)))) {
        return refused();
    }
    std::uint64_t end = sizeof header + table.size() * sizeof(SectionEntry);
    for (const Section& section : sections) {
        const std::byte zeros[kAlign] = {};
        if (!file.append({zeros, section.entry.offset - end})) return refused();
        for (const auto piece : section.pieces) {
            if (!file.append(piece)) return refused();
        }
        end = section.entry.offset + section.entry.bytes;
    }
    return file.publish() ? Status{} : refused();
}

}  // namespace karec
