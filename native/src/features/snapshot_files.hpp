// Files of a bundle's snapshot, mapped: columns of its tables, ids with their rows, lists of ids by row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/npy.hpp"
#include "base/regular_file.hpp"
#include "features/id_slots.hpp"
#include "karec/bundle.hpp"
#include "karec/status.hpp"

namespace karec {

// A .npy file of one axis.
struct StoredColumn {
    MappedFile file;
    NpyArray values;  // in `file`

    // bad_format: it is missing, damaged, or `verify` and it has another sum than the manifest says.
    static Result<StoredColumn> open(const Bundle& bundle, const std::string& name, bool verify);
};

// What a column must hold.
enum class Holds { int64, integers, floats };
// A column with `rows` values; bad_format where it has another number of them, or of another kind.
Result<StoredColumn> open_column(const Bundle& bundle, const std::string& name, Holds holds, std::size_t rows,
                                 bool verify);

// The ids of a table's rows.
struct StoredIds {
    StoredColumn column;
    IdSlots slots;

    static Result<StoredIds> open(const Bundle& bundle, const std::string& name, bool verify);
    std::size_t size() const noexcept { return slots.size(); }
    std::int64_t row_of(std::int64_t id) const noexcept { return slots.find(id); }  // −1: unknown
};

// A list of ids for each row of the users, oldest first.
struct StoredLists {
    StoredColumn indptr;
    StoredColumn values;

    // nullopt where the bundle has no lists of that name.
    static Result<std::optional<StoredLists>> open(const Bundle& bundle, const std::string& name, std::size_t rows,
                                                   bool verify);
    // out = the last ids of a row, newest first, padded with −1.
    void latest(std::size_t row, std::span<std::int64_t> out) const noexcept;
};

bool has_file(const Bundle& bundle, const std::string& name);

// How many scenes the snapshot names, and which code each has.
struct StoredHead {
    std::vector<std::string> scenes;
    static Result<StoredHead> open(const Bundle& bundle, bool verify);
    std::int64_t scene_code(std::string_view name) const noexcept;  // −1: no such name
};

}  // namespace karec
