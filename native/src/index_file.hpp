// The index file, version 1: little-endian, memory-mapped, every byte accounted for.
//
//   FileHeader (128 bytes) · SectionEntry × n_sections (128 bytes each) · sections, in the table's order
//
// Sections: ids, rows, id map, then one for each column; each begins at a multiple of 64, the gap before it holds
// zeros, and the file ends with the last one. Checksums are XXH64 with seed 0: of header and table together
// (with the checksum itself taken as zero), and of each section.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "id_map.hpp"
#include "karec/item_index.hpp"
#include "row_store.hpp"

namespace karec {

// What an index holds, wherever its bytes lie.
struct IndexContents {
    std::int64_t model_version = 0;
    std::uint64_t generation = 1;
    std::span<const std::int64_t> ids;
    RowStore rows;
    std::span<const IdBucket> buckets;
    std::vector<Column> columns;
};

inline constexpr std::size_t kMaxColumnName = 95;  // bytes of UTF-8

// Writes to a new file beside `path`, syncs it, renames it over `path`, syncs the folder.
Status write_index(const std::string& path, const IndexContents& contents);

// Spans into `file`, which starts at a multiple of 64. Refuses with bad_format what write_index could not have written.
Result<IndexContents> read_index(std::span<const std::byte> file);

}  // namespace karec
