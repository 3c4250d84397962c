// Writes a generation to an index file.
#include <algorithm>
#include <utility>

#include "index/file/index_file.hpp"

namespace karec {
namespace {

using Pieces = std::vector<std::span<const std::byte>>;

template <class T>
Pieces bytes_of_pages(const PagedArray<T>& pages) {
    Pieces pieces;
    for (const std::span<const T> piece : pages.segments()) pieces.push_back(std::as_bytes(piece));
    return pieces;
}

}  // namespace

Status write_index(const std::string& path, const Generation& g) {
    std::vector<std::int64_t> versions;
    versions.reserve(g.n_codes);
    for (const ModelVersion& version : g.used_versions()) versions.push_back(version.number);
    std::vector<std::uint64_t> blocked(g.blocked.empty() ? 0 : (g.n_rows() + 63) / 64);
    for (std::size_t word = 0; word < blocked.size(); ++word) blocked[word] = g.blocked.word(word);
    std::vector<std::int64_t> lists;
    if (g.lists != nullptr) {
        lists.push_back(g.lists->model_version);
        lists.insert(lists.end(), g.lists->ends.begin(), g.lists->ends.end());
    }
    std::vector<SpaceEntry> spaces;
    const auto has_entry = [](const ModelVersion& version) { return version.space_id != 0 || version.is_calibrated(); };
    if (std::ranges::any_of(g.used_versions(), has_entry)) {
        for (const ModelVersion& version : g.used_versions()) {
            spaces.push_back({version.space_id, version.scale, version.offset});
        }
    }

    std::string code_names;
    for (const std::string& name : g.code_columns) code_names.append(name).push_back('\0');

    std::vector<NewSection> sections;
    const auto add = [&](std::uint32_t kind, Pieces pieces) {
        sections.push_back({.kind = kind, .pieces = std::move(pieces)});
    };
    add(kIds, bytes_of_pages(g.ids));
    add(kRows, bytes_of_pages(g.rows));
    add(kIdMap, bytes_of_pages(g.id_map.buckets()));
    if (g.format.dtype == DType::int8) add(kScales, bytes_of_pages(g.scales));
    if (g.has_exact_rows) add(kExactRows, bytes_of_pages(g.exact_rows));
    if (g.n_codes > 1) {
        add(kVersions, {std::as_bytes(std::span(versions))});
        add(kCodes, bytes_of_pages(g.codes));
    }
    if (!g.adjustments.empty()) add(kAdjustments, bytes_of_pages(g.adjustments));
    if (!blocked.empty()) add(kBlocked, {std::as_bytes(std::span(blocked))});
    if (!lists.empty()) {
        add(kCentroids, {std::as_bytes(std::span(g.lists->centroids))});
        add(kLists, {std::as_bytes(std::span(lists))});
    }
    if (!spaces.empty()) add(kSpaces, {std::as_bytes(std::span(spaces))});
    if (!code_names.empty()) {
        add(kCodeColumns, {std::as_bytes(std::span(code_names))});
        add(kItemCodes, bytes_of_pages(g.item_codes));
    }
    for (const PagedColumn& column : g.columns) {
        const auto dtype = static_cast<std::uint32_t>(column.dtype);
        sections.push_back({kColumn, dtype, bytes_of_pages(column.values), column.name});
    }
    const std::uint64_t shape = g.format.dim | std::uint64_t{static_cast<std::uint32_t>(g.format.dtype)} << 32;
    const FileFields fields = {g.n_rows(), shape, static_cast<std::uint64_t>(g.model_version), g.number};
    return write_section_file(path, kIndexFile, fields, sections);
}

}  // namespace karec
