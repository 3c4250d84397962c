// Reads a generation from an index file. Checks the fields, then the order and the sizes of the sections, then their
// consistency.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "base/checks.hpp"
#include "index/file/index_file.hpp"

namespace karec {
namespace {

Status damaged(const std::string& reason) {
    return damaged_file(kIndexFile, reason);
}

// Returns whether the file has the section of these elements, which may be empty.
template <class T>
bool has(std::span<const T> elements) noexcept {
    return elements.data() != nullptr;
}

Status check_fields(std::size_t file_bytes, std::uint64_t n_rows, const RowFormat& format) {
    const bool is_known =
        format.dtype == DType::float16 || format.dtype == DType::float32 || format.dtype == DType::int8;
    const std::uint64_t max_rows = std::min<std::uint64_t>(std::numeric_limits<std::int32_t>::max(), file_bytes);
    if (is_known && format.dim > 0 && format.dim <= kMaxDim && n_rows <= max_rows) return {};
    return damaged("its header declares " + std::to_string(n_rows) + " rows of " + std::to_string(format.dim) +
                   " dimensions, type " + std::to_string(static_cast<std::uint32_t>(format.dtype)));
}

std::size_t centroid_bytes(std::size_t dim) noexcept {
    return RowFormat{dim, DType::float32}.stride();
}

// Returns false if the section has another size than `n` elements.
template <class T>
bool assign(std::span<const T>& elements, std::span<const std::byte> bytes, std::size_t n) noexcept {
    elements = to_elements<T>(bytes);
    return bytes.size() == n * sizeof(T);
}

// The same for a section of any number of elements of `width` Ts each.
template <class T>
bool assign_any(std::span<const T>& elements, std::span<const std::byte> bytes, std::size_t width = 1) noexcept {
    return assign(elements, bytes, bytes.size() / (width * sizeof(T)) * width);
}

// Returns false if the section does not have the size for n rows, or is of an unknown kind.
bool assign_section(const FileSection& section, std::size_t n, IndexContents& contents) noexcept {
    const std::span<const std::byte> bytes = section.bytes;
    const std::size_t dim = contents.format.dim;
    switch (section.kind) {
        case kIds:
            return assign(contents.ids, bytes, n);
        case kRows:
            return assign(contents.rows, bytes, n * contents.format.stride());
        case kIdMap:
            return assign(contents.buckets, bytes, id_bucket_count(n));
        case kScales:
            return assign(contents.scales, bytes, n);
        case kExactRows:
            return assign(contents.exact_rows, bytes, n * centroid_bytes(dim));
        case kVersions:
            return assign_any(contents.versions, bytes);
        case kCodes:
            return assign(contents.codes, bytes, n);
        case kAdjustments:
            return assign(contents.adjustments, bytes, n);
        case kBlocked:
            return assign(contents.blocked, bytes, (n + 63) / 64);
        case kCentroids:
            return assign_any(contents.centroids, bytes, centroid_bytes(dim) / sizeof(float));
        case kLists:
            return assign_any(contents.lists, bytes);
        case kSpaces:
            return assign_any(contents.spaces, bytes);
        case kCodeColumns:
            return assign_any(contents.code_names, bytes);
        case kItemCodes:
            return assign_any(contents.item_codes, bytes);
        default:
            return false;
    }
}

Status read_columns(std::span<const FileSection> sections, std::uint64_t n_rows, std::vector<Column>& columns) {
    for (const FileSection& section : sections) {
        const auto dtype = static_cast<DType>(section.dtype);
        const std::size_t length = section.name.size();
        if (section.kind != kColumn || size_of(dtype) == 0 || length == 0 || length > kMaxSectionName) {
            return damaged("an entry of its section table names no column");
        }
        const std::string name(section.name);
        if (section.bytes.size() != n_rows * size_of(dtype)) return damaged("column '" + name + "' has another size");
        if (std::ranges::find(columns, section.name, &Column::name) != columns.end()) {
            return damaged("column '" + name + "' appears twice");
        }
        columns.push_back({section.name, dtype, section.bytes});
    }
    return {};
}

// Checks sections that depend on other sections, codes of model versions, and bits after the last row.
Status check_rows(const IndexContents& contents) {
    const bool is_int8 = contents.format.dtype == DType::int8;
    if (has(contents.scales) != is_int8 || (has(contents.exact_rows) && !is_int8)) {
        return damaged("its rows and its scales do not fit");
    }
    if (has(contents.codes) != (contents.versions.size() > 1) || contents.versions.size() > kMaxVersions) {
        return damaged("its model versions do not fit");
    }
    for (const std::uint8_t code : contents.codes) {
        if (code >= contents.versions.size()) return damaged("a row has an unknown model version");
    }
    const std::size_t rest = contents.ids.size() % 64;
    if (!contents.blocked.empty() && rest != 0 && contents.blocked.back() >> rest != 0) {
        return damaged("it blocks rows that it does not have");
    }
    return {};
}

// Checks that float rows, scales and adjustments are finite, as scores must be. O(bytes).
Status check_numbers(const IndexContents& contents) {
    const auto check = [n = contents.ids.size()](const char* section, const void* data, std::size_t row_bytes,
                                                 DType dtype = DType::float32) {
        if (data == nullptr) return Status{};
        return check_finite(MatrixView{data, n, row_bytes / size_of(dtype), dtype}, section);
    };
    const RowFormat& format = contents.format;
    Status status;
    if (format.dtype != DType::int8) {
        status = check("section rows", contents.rows.data(), format.stride(), format.dtype);
    }
    if (status.ok()) status = check("section scales", contents.scales.data(), sizeof(float));
    if (status.ok()) {
        status = check("section exact rows", contents.exact_rows.data(), centroid_bytes(format.dim));
    }
    if (status.ok()) status = check("section adjustments", contents.adjustments.data(), sizeof(Adjustment));
    return status.ok() ? status : damaged(status.message());
}

// Checks that there is one entry per model version, and that scores stay finite and in their order.
Status check_spaces(const IndexContents& contents) {
    if (!has(contents.spaces)) return {};
    if (contents.spaces.size() != std::max<std::size_t>(contents.versions.size(), 1)) {
        return damaged("its spaces and its model versions do not fit");
    }
    const auto is_valid = [](const SpaceEntry& entry) {
        return std::isfinite(entry.scale) && entry.scale > 0.0f && std::isfinite(entry.offset);
    };
    if (!std::ranges::all_of(contents.spaces, is_valid)) return damaged("the scale of a model version is not above 0");
    return {};
}

// Checks that lists have centroids, and ranges that end where the rows do.
Status check_lists(const IndexContents& contents) {
    if (!has(contents.centroids) && !has(contents.lists)) return {};
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

// Splits the names of code columns. Checks that they are distinct, and that each row has its codes.
Status read_code_columns(IndexContents& contents) {
    if (!has(contents.code_names) && !has(contents.item_codes)) return {};
    std::vector<std::string>& names = contents.code_columns;
    for (auto first = contents.code_names.begin(); first != contents.code_names.end();) {
        const auto end = std::find(first, contents.code_names.end(), '\0');
        const std::string name(first, end);
        const bool is_new = std::ranges::find(names, name) == names.end();
        if (end == contents.code_names.end() || name.empty() || name.size() > kMaxSectionName || !is_new) {
            return damaged("its code columns have no distinct names");
        }
        names.push_back(name);
        first = end + 1;
    }
    const bool is_in_range = !names.empty() && names.size() <= kMaxCodeColumns;
    if (is_in_range && contents.item_codes.size() == contents.ids.size() * std::bit_ceil(names.size())) return {};
    return damaged("its code columns and its codes do not fit");
}

}  // namespace

Result<IndexContents> read_index(std::span<const std::byte> file, bool verify) {
    const auto read = read_section_file(file, kIndexFile, verify);
    if (!read.ok()) return read.status();
    const auto [n_rows, shape, model_version, generation] = read->fields;
    IndexContents contents;
    contents.model_version = static_cast<std::int64_t>(model_version);
    contents.generation = generation;
    contents.format = {shape & 0xFFFFFFFFu, static_cast<DType>(shape >> 32)};
    if (Status status = check_fields(file.size(), n_rows, contents.format); !status.ok()) return status;
    const std::span<const FileSection> sections = read->sections;
    std::size_t s = 0;
    for (std::uint32_t last = 0; s < sections.size(); last = sections[s++].kind) {
        const FileSection& section = sections[s];
        if (s >= 3 && section.kind == kColumn) break;
        const bool is_next = s < 3 ? section.kind == s + 1 : section.kind > kColumn && section.kind > last;
        if (!is_next || section.kind > kItemCodes || section.dtype != 0 || !section.name.empty()) {
            return damaged("its sections are out of order");
        }
        if (!assign_section(section, n_rows, contents)) {
            return damaged("the section of kind " + std::to_string(section.kind) + " has another size");
        }
    }
    if (s < 3) return damaged("it has " + std::to_string(s) + " sections");
    Status status = read_columns(sections.subspan(s), n_rows, contents.columns);
    if (status.ok()) status = check_rows(contents);
    if (status.ok()) status = check_lists(contents);
    if (status.ok()) status = check_spaces(contents);
    if (status.ok()) status = read_code_columns(contents);
    if (status.ok() && verify) status = check_numbers(contents);
    if (!status.ok()) return status;
    IdMap id_map;
    id_map.map(nullptr, contents.buckets);
    if (verify && !id_map.matches(contents.ids)) {
        return damaged("its id map does not match its ids, or too many ids share one bucket");
    }
    return contents;
}

std::unique_ptr<Generation> map_index(const IndexContents& contents, const std::shared_ptr<const void>& owner,
                                      bool is_verified) {
    auto g = std::make_unique<Generation>(contents.format);
    g->number = contents.generation;
    g->is_map_verified = is_verified;
    g->model_version = contents.model_version;
    g->n_items = contents.ids.size();
    g->rows.map(owner, contents.rows);
    g->ids.map(owner, contents.ids);
    g->id_map.map(owner, contents.buckets);
    g->scales.map(owner, contents.scales);
    if (has(contents.exact_rows)) {
        g->add_exact_rows();
        g->exact_rows.map(owner, contents.exact_rows);
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
        const SpaceEntry& entry = contents.spaces[code];
        g->versions[code].space_id = entry.space_id;
        g->versions[code].scale = entry.scale;
        g->versions[code].offset = entry.offset;
    }
    g->adjustments.map(owner, contents.adjustments);
    g->mark_adjusted(!is_verified);
    g->blocked.words().map(owner, contents.blocked);
    g->closed.words().map(owner, contents.blocked);
    g->add_code_columns(contents.code_columns);
    g->item_codes.map(owner, contents.item_codes);
    if (!contents.lists.empty()) {
        const std::vector<float> centroids(contents.centroids.begin(), contents.centroids.end());
        RowLists lists(g->exact_format(), contents.lists.front(), centroids);
        std::ranges::copy(contents.lists.subspan(1), lists.ends.begin());
        g->lists = std::make_shared<const RowLists>(std::move(lists));
    }
    for (const Column& column : contents.columns) {
        g->columns.emplace_back(column.name, column.dtype).values.map(owner, column.bytes);
    }
    return g;
}

}  // namespace karec
