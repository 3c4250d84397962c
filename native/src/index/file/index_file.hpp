// The index file: a section file (base/section_file.hpp) of kind kIndexFile.
//
// Fields: n_rows; dim | dtype << 32; model version of the newest vectors; generation.
// Sections: ids, rows and id map; then those of kinds 5 to 15 that the index needs, by number; then one for each
// column.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/section_file.hpp"
#include "index/generation.hpp"

namespace karec {

inline constexpr FileKind kIndexFile{"index file", "karecidx", 1};

enum IndexSection : std::uint32_t {
    kIds = 1,
    kRows = 2,
    kIdMap = 3,
    kColumn = 4,
    kScales = 5,        // of int8 rows
    kExactRows = 6,     // float32 rows, if int8 rows are rescored
    kVersions = 7,      // if there are several, model versions by code
    kCodes = 8,         // with kVersions, the code of each row
    kAdjustments = 9,   // if any row is adjusted
    kBlocked = 10,      // if any row is blocked, one bit per row
    kCentroids = 11,    // if there are lists, one padded float32 row per list
    kLists = 12,        // with kCentroids, the model version of the lists, then their ends
    kSpaces = 13,       // if one is not {0, 1, 0}, an entry for each model version by code
    kCodeColumns = 14,  // if there are code columns, their names, each ended by a 0 byte
    kItemCodes = 15,    // with kCodeColumns, the codes of each row, padded with 0 to a power of two
};

struct SpaceEntry {
    std::uint64_t space_id;
    float scale;
    float offset;
};
static_assert(sizeof(SpaceEntry) == 16);

// The contents of a file, as spans into it. Sections that the file lacks have no data().
struct IndexContents {
    std::int64_t model_version = 0;
    std::uint64_t generation = 1;
    RowFormat format;
    std::span<const std::int64_t> ids;
    std::span<const std::byte> rows;
    std::span<const IdBucket> buckets;
    std::span<const float> scales;
    std::span<const std::byte> exact_rows;
    std::span<const std::int64_t> versions;
    std::span<const std::uint8_t> codes;
    std::span<const Adjustment> adjustments;
    std::span<const std::uint64_t> blocked;
    std::span<const float> centroids;
    std::span<const std::int64_t> lists;
    std::span<const SpaceEntry> spaces;
    std::span<const char> code_names;
    std::span<const std::uint32_t> item_codes;
    std::vector<std::string> code_columns;
    std::vector<Column> columns;
};

// Writes the file and syncs its folder. `generation` has no removed rows; if it has lists, its rows are in their order.
Status write_index(const std::string& path, const Generation& generation);

// Spans into `file`, which starts at a multiple of 64. bad_format: a file that write_index cannot have written. Without
// `verify`, checks positions and sizes of the sections, and the contents only of codes, lists and spaces.
Result<IndexContents> read_index(std::span<const std::byte> file, bool verify = true);

// A generation whose pages are the contents of a file, mapped; `owner` keeps the file in memory. `is_verified`: by
// read_index.
std::unique_ptr<Generation> map_index(const IndexContents& contents, const std::shared_ptr<const void>& owner,
                                      bool is_verified);

}  // namespace karec
