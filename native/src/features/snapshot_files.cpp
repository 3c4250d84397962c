#include "features/snapshot_files.hpp"

#include <algorithm>
#include <utility>

#include "base/indptr.hpp"
#include "base/json.hpp"

namespace karec {
namespace {

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
    return bundle.sum(name).ok();
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
    const std::string former = "snapshot/labels.json";  // of format 1
    const std::string name = has_file(bundle, former) ? former : "snapshot/snapshot.json";
    const auto file = map_file(bundle, name, verify);
    if (!file.ok()) return file.status();
    const auto bytes = file->bytes();
    const auto head = read_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    if (!head.ok()) return damaged(bundle, name, head.status().message());
    const Json* format = head->find("format");
    const bool read = name == former || (format != nullptr && (format->whole == 2 || format->whole == 3));
    if (!read) return damaged(bundle, name, "it is of a format that this library does not read: 1 to 3 are");
    StoredHead found;
    found.counters = name == former ? "snapshot/visits/" : "snapshot/user_scene_counters/";
    const Json* labels = head->find("labels");
    const Json* scenes = labels == nullptr ? nullptr : labels->find("scene");
    if (labels == nullptr || labels->kind != Json::Kind::object) return damaged(bundle, name, "it has no labels");
    if (scenes == nullptr) return found;
    for (const Json& scene : scenes->list) found.scenes.push_back(scene.text);
    const bool texts = std::ranges::all_of(scenes->list, [](const Json& j) { return j.kind == Json::Kind::text; });
    if (scenes->kind == Json::Kind::list && texts) return found;
    return damaged(bundle, name, "the labels of 'scene' are no list of names");
}

std::int64_t StoredHead::scene_code(std::string_view name) const noexcept {
    // As Python's dict of names: the last one of a name.
    for (std::size_t code = scenes.size(); code-- > 0;) {
        if (scenes[code] == name) return static_cast<std::int64_t>(code);
    }
    return -1;
}

}  // namespace karec
