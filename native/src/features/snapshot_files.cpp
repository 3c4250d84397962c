#include "features/snapshot_files.hpp"

#include <algorithm>
#include <utility>

#include "base/checks.hpp"
#include "base/json.hpp"

namespace karec {
namespace {

constexpr std::int64_t kFormat = 1;

Status damaged(const Bundle& bundle, const std::string& name, const std::string& why) {
    return Status::bad_format(bundle.path() + "/" + name + ": " + why);
}

const char* words_of(Holds holds) noexcept {
    return holds == Holds::int64 ? "int64" : holds == Holds::integers ? "integers" : "floating numbers";
}

bool holds_such(const NpyArray& values, Holds holds) noexcept {
    if (holds == Holds::int64) return values.dtype == DType::int64;
    return holds == Holds::integers ? values.is_integer() : values.is_floating();
}

Result<MappedFile> map_file(const Bundle& bundle, const std::string& name, bool verify) {
    const auto path = bundle.file(name, verify);
    if (!path.ok()) return path.status();
    return MappedFile::open(path.value());
}

}  // namespace

bool has_file(const Bundle& bundle, const std::string& name) {
    return bundle.has(name);
}

Result<StoredColumn> StoredColumn::open(const Bundle& bundle, const std::string& name, bool verify) {
    auto file = map_file(bundle, name, verify);
    if (!file.ok()) return file.status();
    auto values = read_npy(file->bytes());
    if (!values.ok()) return damaged(bundle, name, values.status().message());
    if (values->shape.size() != 1) return damaged(bundle, name, "it is not of one axis");
    return StoredColumn{std::move(file.value()), std::move(values.value())};
}

Result<StoredColumn> open_column(const Bundle& bundle, const std::string& name, Holds holds, std::size_t rows,
                                 bool verify) {
    auto column = StoredColumn::open(bundle, name, verify);
    if (!column.ok()) return column;
    if (column->values.size() != rows) {
        return damaged(bundle, name,
                       "it has " + std::to_string(column->values.size()) + " rows, expected " + std::to_string(rows));
    }
    if (!holds_such(column->values, holds)) {
        return damaged(bundle, name,
                       std::string("it is of ") + name_of(column->values.dtype) + ", expected " + words_of(holds));
    }
    return column;
}

Result<StoredIds> StoredIds::open(const Bundle& bundle, const std::string& name, bool verify) {
    auto column = StoredColumn::open(bundle, name, verify);
    if (!column.ok()) return column.status();
    if (!holds_such(column->values, Holds::int64)) return damaged(bundle, name, "ids are int64");
    auto slots = IdSlots::of(column->values.bytes);
    if (!slots.ok()) return damaged(bundle, name, slots.status().message());
    return StoredIds{std::move(column.value()), std::move(slots.value())};
}

Result<std::optional<StoredLists>> StoredLists::open(const Bundle& bundle, const std::string& name, std::size_t rows,
                                                     bool verify) {
    const std::string path = "snapshot/relations/" + name;
    if (!has_file(bundle, path + ".indptr.npy")) return std::optional<StoredLists>();
    auto indptr = open_column(bundle, path + ".indptr.npy", Holds::int64, rows + 1, verify);
    if (!indptr.ok()) return indptr.status();
    auto values = StoredColumn::open(bundle, path + ".values.npy", verify);
    if (!values.ok()) return values.status();
    if (!holds_such(values->values, Holds::int64)) return damaged(bundle, path + ".values.npy", "ids are int64");
    std::vector<std::int64_t> bounds(rows + 1);
    for (std::size_t i = 0; i <= rows; ++i) bounds[i] = indptr->values.integer(i);
    const Status status = check_indptr("indptr", bounds, rows, values->values.size());
    if (!status.ok()) return damaged(bundle, path + ".indptr.npy", status.message());
    return std::optional(StoredLists{std::move(indptr.value()), std::move(values.value())});
}

void StoredLists::latest(std::size_t row, std::span<std::int64_t> out) const noexcept {
    const auto begin = static_cast<std::size_t>(indptr.values.at<std::int64_t>(row));
    // The file is mapped: what another process writes into it meanwhile must not lead outside of the values.
    const std::size_t end =
        std::min(static_cast<std::size_t>(indptr.values.at<std::int64_t>(row + 1)), values.values.size());
    std::size_t n = begin < end ? std::min(end - begin, out.size()) : 0;
    for (std::size_t i = 0; i < n; ++i) out[i] = values.values.at<std::int64_t>(end - 1 - i);
    std::ranges::fill(out.subspan(n), -1);
}

Result<StoredHead> StoredHead::open(const Bundle& bundle, bool verify) {
    const std::string name = "snapshot/snapshot.json";
    const auto file = map_file(bundle, name, verify);
    if (!file.ok()) return file.status();
    const auto head = Json::parse(file->bytes());
    if (!head.ok()) return damaged(bundle, name, head.status().message());
    if (head.value()["format"].integer() != kFormat) {
        return damaged(bundle, name,
                       "another format, expected " + std::to_string(kFormat) + ". Publish the bundle again");
    }
    StoredHead found;
    const JsonValue labels = head.value()["labels"];
    if (!labels.is_object()) return damaged(bundle, name, "it has no labels");
    const JsonValue scenes = labels["scene"];
    bool is_valid = scenes.is_missing() || scenes.is_list();
    for (const JsonValue scene : scenes) {
        is_valid = is_valid && scene.text();
        found.scenes.emplace_back(scene.text().value_or(""));
    }
    if (is_valid) return found;
    return damaged(bundle, name, "the labels of 'scene' are not a list of names");
}

std::int64_t StoredHead::scene_code(std::string_view name) const noexcept {
    // As Python's dict of names: the last one of a name.
    for (std::size_t code = scenes.size(); code-- > 0;) {
        if (scenes[code] == name) return static_cast<std::int64_t>(code);
    }
    return -1;
}

}  // namespace karec
