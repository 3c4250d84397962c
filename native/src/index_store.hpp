// What an ItemIndex points at: contents, and the memory that they lie in.
#pragma once

#include <string>
#include <vector>

#include "index_file.hpp"
#include "karec/item_index.hpp"
#include "memory.hpp"

namespace karec {

struct ItemIndex::Store {
    IndexContents contents;
    MappedFile file;            // after open(); the buffers are empty then
    Buffer ids, rows, buckets;  // after build()
    std::vector<Buffer> columns;
    std::vector<std::string> names;
};

}  // namespace karec
