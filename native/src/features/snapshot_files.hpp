// Reads a bundle's snapshot: mapped columns of its tables, ids with their rows, and lists of ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/npy.hpp"
#include "base/regular_file.hpp"
#include "base/slots.hpp"
#include "karec/bundle.hpp"
#include "karec/status.hpp"

namespace karec {

// A .npy file of one axis.
struct StoredColumn {
    MappedFile file;
    NpyArray values;  // in `file`
};

// The ids of a table's rows.
struct StoredIds {
    StoredColumn column;
    IdSlots slots;

    std::size_t size() const noexcept { return slots.size(); }
    std::int64_t find_row(std::int64_t id) const noexcept { return slots.find(id); }  // −1: unknown
};

// A list of ids for each row, oldest first. Without files, all lists are empty.
struct StoredLists {
    StoredColumn indptr;
    StoredColumn values;

    // Writes the last ids of a row, newest first, padded with −1.
    void read_latest(std::size_t row, std::span<std::int64_t> out) const noexcept;
};

// counters: floating numbers, finite and ≥ 0 in float32. moments: integers, Unix milliseconds before the year 10000,
// ≤ 0 if unknown.
enum class ColumnKind { int64, integers, floats, counters, moments };

// Opens files. After the first error, which `status` has, the results are empty. With `verify`, compares every byte
// with the manifest's checksum, and checks the values of counters and moments. Cost: O(bytes).
class SnapshotReader {
  public:
    SnapshotReader(const Bundle& bundle, bool verify) noexcept : bundle_(bundle), verify_(verify) {}

    Status status;  // bad_format: a file is missing or damaged, or has another kind or number of values; io_error

    // Path and bytes of a file; empty after an error.
    MappedFile map_file(const std::string& name);
    // A column of any length.
    StoredColumn read_column(const std::string& name, ColumnKind kind);
    StoredColumn read_column(const std::string& name, ColumnKind kind, std::size_t n_rows);
    StoredIds read_ids(const std::string& name);
    // The lists `name` of the users; empty if the snapshot does not have them.
    StoredLists read_lists(const std::string& name, std::size_t n_rows);
    // Names of the scenes by code. If a name appears twice, its last code counts, as in Python.
    std::vector<std::string> read_scenes();

    // Stores an error of the file `name`, unless `status` has an earlier one.
    void refuse(const std::string& name, const std::string& reason);

  private:
    // Refuses the first row whose value is not of the kind.
    void check_values(const std::string& name, const NpyArray& values, ColumnKind kind);

    const Bundle& bundle_;
    bool verify_;
};

}  // namespace karec
