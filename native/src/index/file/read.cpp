// Index file → generation. Checks the header, the section table and the bounds, then each section's checksum, then
// that the sections fit each other.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "index/file/layout.hpp"

namespace karec {
namespace {

Status damaged(const std::string& what) {
    return Status::bad_format("not a whole karec index file: " + what);
}

Status check_header(std::span<const std::byte> file, FileHeader& header) {
    if (file.size() < sizeof header) {
        return damaged("it has " + std::to_string(file.size()) + " bytes, the header alone has " +
                       std::to_string(sizeof header));
    }
    std::memcpy(&header, file.data(), sizeof header);
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return damaged("it does not begin with 'karecidx'");
    if (header.byte_order != kByteOrder) return damaged("its byte order is foreign");
    if (header.version != kVersion) {
        return Status::bad_format("the index file has version " + std::to_string(header.version) +
                                  ", this karec reads version " + std::to_string(kVersion));
    }
    if (header.file_bytes != file.size()) {
        return damaged("it has " + std::to_string(file.size()) + " bytes, its header says " +
                       std::to_string(header.file_bytes));
    }
    if (header.n_sections < 3 || header.n_sections > (file.size() - sizeof header) / sizeof(SectionEntry)) {
        return damaged("its header names " + std::to_string(header.n_sections) + " sections");
    }
    const auto table = file.subspan(sizeof header, header.n_sections * sizeof(SectionEntry));
    if (table_checksum(header, table) != header.checksum) return damaged("header or section table is altered");
    const auto dtype = static_cast<DType>(header.dtype);
    const bool no_type = dtype != DType::float16 && dtype != DType::float32 && dtype != DType::int8;
    const std::uint64_t most_rows = std::min<std::uint64_t>(std::numeric_limits<std::int32_t>::max(), file.size());
    if (no_type || header.dim == 0 || header.dim > kMaxDim || header.n_rows > most_rows) {
        return damaged("its header says " + std::to_string(header.n_rows) + " rows of " + std::to_string(header.dim) +
                       " dimensions, type " + std::to_string(header.dtype));
    }
    for (const std::uint64_t word : header.reserved) {
        if (word != 0) return damaged("its header holds unknown fields");
    }
    return {};
}

// The section's bytes, after checking its offset, its size, the gap before it and its checksum. Moves `end` behind it.
Result<std::span<const std::byte>> section_bytes(std::span<const std::byte> file, const SectionEntry& entry,
                                                 std::uint64_t expected_bytes, bool verify, std::uint64_t& end) {
    const std::uint64_t begin = aligned(end);
    if (entry.bytes != expected_bytes || entry.offset != begin || begin > file.size() ||
        entry.bytes > file.size() - begin) {
        return damaged("a section's place or size does not fit");
    }
    for (std::uint64_t at = end; at < begin; ++at) {
        if (file[at] != std::byte{0}) return damaged("the gap at byte " + std::to_string(at) + " is altered");
    }
    const auto bytes = file.subspan(begin, entry.bytes);
    if (verify && xxh64(bytes) != entry.checksum)
        return damaged("the section at byte " + std::to_string(begin) + " is altered");
    end = begin + entry.bytes;
    return bytes;
}

Status read_columns(std::span<const std::byte> file, std::span<const SectionEntry> entries, std::uint64_t n_rows,
                    bool verify, std::uint64_t& end, std::vector<Column>& columns) {
    for (const SectionEntry& entry : entries) {
        const auto dtype = static_cast<DType>(entry.dtype);
        const std::size_t length = ::strnlen(entry.name, sizeof entry.name);
        if (entry.kind != kColumn || size_of(dtype) == 0 || length == 0 || length > kMaxColumnName) {
            return damaged("an entry of its section table names no column");
        }
        auto bytes = section_bytes(file, entry, n_rows * size_of(dtype), verify, end);
        if (!bytes.ok()) return bytes.status();
        const std::string_view name(entry.name, length);
        for (const Column& column : columns) {
            if (column.name == name) return damaged("column '" + std::string(name) + "' appears twice");
        }
        columns.push_back({name, dtype, bytes.value()});
    }
    return {};
}

template <class T>
std::span<const T> elements(std::span<const std::byte> bytes) noexcept {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

std::uint64_t centroid_bytes(std::size_t dim) noexcept {
    return RowFormat{dim, DType::float32}.stride();
}

// The size of a section of that kind, computed from the header; those of versions, lists and spaces have any number.
std::uint64_t bytes_of(std::uint32_t kind, const FileHeader& header, const SectionEntry& entry) noexcept {
    const std::uint64_t n = header.n_rows;
    const RowFormat format{header.dim, static_cast<DType>(header.dtype)};
    switch (kind) {
        case kIds:
            return n * sizeof(std::int64_t);
        case kRows:
            return n * format.stride();
        case kIdMap:
            return id_bucket_count(n) * sizeof(IdBucket);
        case kScales:
            return n * sizeof(float);
        case kExact:
            return n * RowFormat{header.dim, DType::float32}.stride();
        case kVersions:
        case kLists:
            return entry.bytes / sizeof(std::int64_t) * sizeof(std::int64_t);
        case kCodes:
            return n;
        case kAdjustments:
            return n * sizeof(Adjustment);
        case kSpaces:
            return entry.bytes / sizeof(SpaceEntry) * sizeof(SpaceEntry);
        case kCentroids:
            return entry.bytes / centroid_bytes(header.dim) * centroid_bytes(header.dim);
        default:
            return (n + 63) / 64 * sizeof(std::uint64_t);
    }
}

void keep(std::uint32_t kind, std::span<const std::byte> bytes, IndexContents& contents) {
    switch (kind) {
        case kIds:
            contents.ids = elements<std::int64_t>(bytes);
            break;
        case kRows:
            contents.rows = bytes;
            break;
        case kIdMap:
            contents.buckets = elements<IdBucket>(bytes);
            break;
        case kScales:
            contents.scales = elements<float>(bytes);
            break;
        case kExact:
            contents.exact = bytes;
            break;
        case kVersions:
            contents.versions = elements<std::int64_t>(bytes);
            break;
        case kCodes:
            contents.codes = elements<std::uint8_t>(bytes);
            break;
        case kAdjustments:
            contents.adjustments = elements<Adjustment>(bytes);
            break;
        case kCentroids:
            contents.centroids = elements<float>(bytes);
            break;
        case kLists:
            contents.lists = elements<std::int64_t>(bytes);
            break;
        case kSpaces:
            contents.spaces = elements<SpaceEntry>(bytes);
            break;
        default:
            contents.blocked = elements<std::uint64_t>(bytes);
    }
}

// Checks across sections: sections that need each other, codes without a version, bits behind the last row.
Status check_together(const IndexContents& contents, bool has_scales, bool has_codes, bool has_exact) {
    const bool int8 = contents.format.dtype == DType::int8;
    if (has_scales != int8 || (has_exact && !int8)) return damaged("its rows and its scales do not fit");
    if (has_codes != (contents.versions.size() > 1) || contents.versions.size() > kMaxVersions) {
        return damaged("its model versions do not fit");
    }
    for (const std::uint8_t code : contents.codes) {
        if (code >= contents.versions.size()) return damaged("a row is of no model version");
    }
    const std::size_t rest = contents.ids.size() % 64;
    if (!contents.blocked.empty() && rest != 0 && contents.blocked.back() >> rest != 0) {
        return damaged("it blocks rows that it does not have");
    }
    return {};
}

// Checks that there is one entry a model version, and that scores stay finite and in their order.
Status check_spaces(const IndexContents& contents) {
    if (contents.spaces.size() != std::max<std::size_t>(contents.versions.size(), 1)) {
        return damaged("its spaces and its model versions do not fit");
    }
    const auto fits = [](const SpaceEntry& each) {
        return std::isfinite(each.scale) && each.scale > 0.0f && std::isfinite(each.offset);
    };
    if (!std::ranges::all_of(contents.spaces, fits)) return damaged("the scale of a model version is not above 0");
    return {};
}

// Checks that lists have centroids, and ranges that end where the rows do.
Status check_lists(const IndexContents& contents) {
    const std::size_t n = contents.centroids.size_bytes() / centroid_bytes(contents.format.dim);
    if (n == 0 || n > kMaxLists || contents.lists.size() != n + 2) {
        return damaged("its lists and their centroids do not fit");
    }
    const auto ends = contents.lists.subspan(1);
    const auto rows = static_cast<std::int64_t>(contents.ids.size());
    if (ends.front() < 0 || ends.back() != rows || !std::ranges::is_sorted(ends)) {
        return damaged("its lists do not end where its rows do");
    }
    if (!std::ranges::all_of(contents.centroids, [](float x) { return std::isfinite(x); })) {
        return damaged("a centroid of its lists is not finite");
    }
    return {};
}

}  // namespace

Result<IndexContents> read_index(std::span<const std::byte> file, bool verify) {
    FileHeader header;
    if (Status status = check_header(file, header); !status.ok()) return status;
    const auto table = elements<SectionEntry>(file.subspan(sizeof header, header.n_sections * sizeof(SectionEntry)));
    IndexContents contents;
    contents.model_version = header.model_version;
    contents.generation = header.generation;
    contents.format = {header.dim, static_cast<DType>(header.dtype)};
    std::uint64_t end = sizeof header + table.size_bytes();
    bool has[kSpaces + 1] = {};
    std::size_t s = 0;
    for (std::uint32_t last = 0; s < table.size(); ++s) {
        const SectionEntry& entry = table[s];
        if (s >= 3 && entry.kind == kColumn) break;
        const bool expected = s < 3 ? entry.kind == s + 1 : entry.kind > kColumn && entry.kind > last;
        if (!expected || entry.kind > kSpaces || entry.dtype != 0 || entry.name[0] != 0) {
            return damaged("its sections are out of order");
        }
        auto bytes = section_bytes(file, entry, bytes_of(entry.kind, header, entry), verify, end);
        if (!bytes.ok()) return bytes.status();
        keep(entry.kind, bytes.value(), contents);
        has[entry.kind] = true;
        last = entry.kind;
    }
    Status status = read_columns(file, table.subspan(s), header.n_rows, verify, end, contents.columns);
    if (!status.ok()) return status;
    if (end != file.size()) return damaged("something follows its last section");
    status = check_together(contents, has[kScales], has[kCodes], has[kExact]);
    if (!status.ok()) return status;
    if (has[kCentroids] || has[kLists]) status = check_lists(contents);
    if (!status.ok()) return status;
    if (has[kSpaces]) status = check_spaces(contents);
    if (!status.ok()) return status;
    if (verify && !id_map_matches(contents.buckets, contents.ids))
        return damaged("its id map does not fit its ids, or too many of them meet in one bucket");
    return contents;
}

std::unique_ptr<Generation> map_index(const IndexContents& contents, const std::shared_ptr<const void>& owner,
                                      bool verified) {
    auto g = std::make_unique<Generation>(contents.format);
    g->number = contents.generation;
    g->map_verified = verified;
    g->model_version = contents.model_version;
    g->n_works = contents.ids.size();
    g->rows.map(owner, contents.rows);
    g->ids.map(owner, contents.ids);
    g->id_map.map(owner, contents.buckets);
    g->scales.map(owner, contents.scales);
    if (contents.exact.data() != nullptr) {
        g->keep_exact();
        g->exact.map(owner, contents.exact);
    }
    if (contents.versions.size() > 1) {
        g->n_codes = contents.versions.size();
        for (std::size_t code = 0; code < g->n_codes; ++code) g->versions[code].number = contents.versions[code];
        for (const std::uint8_t code : contents.codes) ++g->versions[code].n_rows;
        g->codes.map(owner, contents.codes);
    } else {
        g->versions[0] = {.number = contents.model_version, .n_rows = contents.ids.size()};
    }
    for (std::size_t code = 0; code < contents.spaces.size(); ++code) {
        const SpaceEntry& said = contents.spaces[code];
        g->versions[code].space_id = said.space_id;
        g->versions[code].scale = said.scale;
        g->versions[code].offset = said.offset;
    }
    g->adjustments.map(owner, contents.adjustments);
    g->mark_adjusted(!verified);
    g->blocked.words().map(owner, contents.blocked);
    g->closed.words().map(owner, contents.blocked);
    if (!contents.lists.empty()) {
        const std::vector<float> centroids(contents.centroids.begin(), contents.centroids.end());
        RowLists lists(g->exact_format(), contents.lists.front(), centroids);
        std::ranges::copy(contents.lists.subspan(1), lists.ends.begin());
        g->lists = std::make_shared<const RowLists>(std::move(lists));
    }
    for (const Column& column : contents.columns) {
        PagedColumn& pages = g->columns.emplace_back(PagedColumn{
            std::string(column.name), column.dtype, PagedArray<std::byte>(size_of(column.dtype), kLargePage)});
        pages.values.map(owner, column.bytes);
    }
    return g;
}

bool id_map_matches(std::span<const IdBucket> buckets, std::span<const std::int64_t> ids) {
    IdMap map;
    map.map(nullptr, buckets);
    return map.matches(ids);
}

}  // namespace karec
