// The index file, version 1: little-endian, memory-mapped; every byte is covered by a check.
//
//   FileHeader (128 bytes) · SectionEntry × n_sections (128 bytes each) · sections, in the table's order
//
// Sections: ids, rows, id map; then those of kinds 5 to 13 that the index needs, by number; then one for each column.
// Each begins at a multiple of 64, the gap before it holds zeros, and the file ends with the last one. Checksums are
// XXH64 with seed 0: of header and table together (with the checksum itself taken as zero), and of each section.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "index/generation.hpp"

namespace karec {

struct SpaceEntry;

// The contents of a file, as spans into it.
struct IndexContents {
    std::int64_t model_version = 0;
    std::uint64_t generation = 1;
    RowFormat format;
    std::span<const std::int64_t> ids;
    std::span<const std::byte> rows;
    std::span<const IdBucket> buckets;
    std::span<const float> scales;            // kind 5: of int8 rows
    std::span<const std::byte> exact;         // kind 6: float32 rows, where int8 ones are rescored
    std::span<const std::int64_t> versions;   // kind 7: where there are several, model versions by code
    std::span<const std::uint8_t> codes;      // kind 8: each row's code
    std::span<const Adjustment> adjustments;  // kind 9: where any row is adjusted
    std::span<const std::uint64_t> blocked;   // kind 10: where any row is blocked, one bit a row
    std::span<const float> centroids;         // kind 11: where rows lie in lists, one padded float32 row a list
    std::span<const std::int64_t> lists;      // kind 12: with them, the lists' model version, then their ends
    std::span<const SpaceEntry> spaces;       // kind 13: where one is not {0, 1, 0}, for each model version by code
    std::vector<Column> columns;
};

inline constexpr std::size_t kMaxColumnName = 95;  // bytes of UTF-8

// Writes the file (AtomicFile) and syncs its folder. The generation has no removed rows; with lists, rows lie in them.
Status write_index(const std::string& path, const Generation& generation);

// Spans into `file`, which starts at a multiple of 64. Refuses with bad_format what write_index could not have written.
// Without `verify`, positions and sizes of sections are checked, but of their contents the codes alone.
Result<IndexContents> read_index(std::span<const std::byte> file, bool verify = true);

// A generation whose pages are `contents`, mapped; `owner` keeps them alive. `verified`: by read_index.
std::unique_ptr<Generation> map_index(const IndexContents& contents, const std::shared_ptr<const void>& owner,
                                      bool verified);

// Whether the buckets hold exactly ids[i] → i for every i. O(N).
bool id_map_matches(std::span<const IdBucket> buckets, std::span<const std::int64_t> ids);

}  // namespace karec
