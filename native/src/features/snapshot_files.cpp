#include "features/snapshot_files.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/checks.hpp"
#include "base/json.hpp"

namespace karec {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kLatestMs = 253'402'300'799'999;          // end of the year 9999, as in karec/catalog/schema.py
constexpr double kMaxFloat = std::numeric_limits<float>::max();  // the encoder reads counters as float32

bool has_integers(ColumnKind kind) noexcept {
    return kind == ColumnKind::integers || kind == ColumnKind::moments;
}

const char* name_of(ColumnKind kind) noexcept {
    if (kind == ColumnKind::int64) return "int64";
    return has_integers(kind) ? "integers" : "floating numbers";
}

bool is_of_kind(const NpyArray& values, ColumnKind kind) noexcept {
    if (kind == ColumnKind::int64) return values.dtype == DType::int64;
    return has_integers(kind) ? values.is_integer() : values.is_floating();
}

}  // namespace

void StoredLists::read_latest(std::size_t row, std::span<std::int64_t> out) const noexcept {
    std::size_t n = 0;
    if (row + 1 < indptr.values.size()) {
        const auto begin = static_cast<std::size_t>(indptr.values.at<std::int64_t>(row));
        // Another process may write into the mapped file meanwhile: the end is checked again.
        const std::size_t end =
            std::min(static_cast<std::size_t>(indptr.values.at<std::int64_t>(row + 1)), values.values.size());
        n = begin < end ? std::min(end - begin, out.size()) : 0;
        for (std::size_t i = 0; i < n; ++i) out[i] = values.values.at<std::int64_t>(end - 1 - i);
    }
    std::ranges::fill(out.subspan(n), -1);
}

void SnapshotReader::refuse(const std::string& name, const std::string& reason) {
    if (status.ok()) status = Status::bad_format(bundle_.path() + "/" + name + ": " + reason);
}

MappedFile SnapshotReader::map_file(const std::string& name) {
    if (!status.ok()) return {};
    const auto path = bundle_.file(name, verify_);
    auto file = path.ok() ? MappedFile::open(path.value()) : path.status();
    if (file.ok()) return std::move(file.value());
    status = file.status();
    return {};
}

StoredColumn SnapshotReader::read_column(const std::string& name, ColumnKind kind) {
    MappedFile file = map_file(name);
    if (!status.ok()) return {};
    auto values = read_npy(file.bytes());
    if (!values.ok()) {
        refuse(name, values.status().message());
        return {};
    }
    if (values->shape.size() != 1) refuse(name, "expected one axis");
    if (!is_of_kind(values.value(), kind)) {
        refuse(name, std::string("dtype ") + name_of(values->dtype) + ", expected " + name_of(kind));
    }
    if (verify_ && status.ok()) check_values(name, values.value(), kind);
    return {std::move(file), std::move(values.value())};
}

StoredColumn SnapshotReader::read_column(const std::string& name, ColumnKind kind, std::size_t n_rows) {
    StoredColumn column = read_column(name, kind);
    if (column.values.size() != n_rows) {
        refuse(name, std::to_string(column.values.size()) + " rows, expected " + std::to_string(n_rows));
    }
    return column;
}

void SnapshotReader::check_values(const std::string& name, const NpyArray& values, ColumnKind kind) {
    if (kind != ColumnKind::counters && kind != ColumnKind::moments) return;
    const auto refuse_row = [&](std::size_t row, const std::string& value, const char* expected) {
        refuse(name, "row " + std::to_string(row) + " is " + value + ", expected " + expected);
    };
    for (std::size_t row = 0; row < values.size() && status.ok(); ++row) {
        if (kind == ColumnKind::counters) {
            const double counter = values.real(row);
            const bool is_valid = counter >= 0.0 && counter <= kMaxFloat;
            if (!is_valid) refuse_row(row, std::to_string(counter), "a counter, finite and ≥ 0 in float32");
        } else {
            const std::int64_t moment = values.integer(row);
            const bool is_valid = moment <= kLatestMs && (moment >= 0 || values.dtype != DType::uint64);
            if (!is_valid) refuse_row(row, std::to_string(moment), "Unix milliseconds before the year 10000");
        }
    }
}

StoredIds SnapshotReader::read_ids(const std::string& name) {
    StoredColumn column = read_column(name, ColumnKind::int64);
    if (!status.ok()) return {};
    auto slots = IdSlots::from_ids(column.values.bytes);
    if (slots.ok()) return {std::move(column), std::move(slots.value())};
    refuse(name, slots.status().message());
    return {};
}

StoredLists SnapshotReader::read_lists(const std::string& name, std::size_t n_rows) {
    const std::string indptr = "snapshot/relations/" + name + ".indptr.npy";
    if (!bundle_.has(indptr)) return {};
    StoredLists lists{read_column(indptr, ColumnKind::int64, n_rows + 1),
                      read_column("snapshot/relations/" + name + ".values.npy", ColumnKind::int64)};
    if (!status.ok()) return {};
    std::vector<std::int64_t> bounds(n_rows + 1);
    for (std::size_t i = 0; i <= n_rows; ++i) bounds[i] = lists.indptr.values.integer(i);
    const Status checked = check_indptr("indptr", bounds, n_rows, lists.values.values.size());
    if (!checked.ok()) refuse(indptr, checked.message());
    return lists;
}

std::vector<std::string> SnapshotReader::read_scenes() {
    const std::string name = "snapshot/snapshot.json";
    const MappedFile file = map_file(name);
    if (!status.ok()) return {};
    const auto head = Json::parse(file.bytes());
    if (!head.ok()) {
        refuse(name, head.status().message());
        return {};
    }
    if (head.value()["format"].integer() != kFormat) {
        refuse(name, "another format, expected " + std::to_string(kFormat) + ". Publish the bundle again");
    }
    const JsonValue labels = head.value()["labels"];
    const JsonValue scenes = labels["scene"];
    std::vector<std::string> names;
    bool is_valid = labels.is_object() && (scenes.is_missing() || scenes.is_list());
    for (const JsonValue scene : scenes) {
        is_valid = is_valid && scene.text();
        names.emplace_back(scene.text().value_or(""));
    }
    if (!is_valid) refuse(name, "labels are missing, or those of 'scene' are not a list of names");
    return names;
}

}  // namespace karec
