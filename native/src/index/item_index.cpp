// ItemIndex::build and open. The writes are in item_index_writes.cpp.
#include "karec/item_index.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/boundary.hpp"
#include "base/read_once.hpp"
#include "base/regular_file.hpp"
#include "index/file/index_file.hpp"
#include "index/generation_store.hpp"
#include "index/index_checks.hpp"

namespace karec {
namespace {

Status check_names(std::span<const Column> columns) {
    for (std::size_t c = 0; c < columns.size(); ++c) {
        const std::string name(columns[c].name);
        if (name.empty() || name.size() > kMaxSectionName || name.find('\0') != std::string::npos) {
            return Status::invalid("a column's name has 1 to " + std::to_string(kMaxSectionName) +
                                   " bytes of UTF-8, got '" + name + "'");
        }
        const auto earlier = columns.first(c);
        if (std::ranges::find(earlier, name, &Column::name) != earlier.end()) {
            return Status::invalid("column '" + name + "' appears twice");
        }
    }
    return {};
}

Status check_build(std::span<const std::int64_t> ids, const MatrixView& embeddings,
                   const ItemIndex::BuildOptions& options) {
    if (Status status = check_isa(); !status.ok()) return status;
    const bool is_known =
        options.dtype == DType::float16 || options.dtype == DType::float32 || options.dtype == DType::int8;
    if (!is_known) return Status::invalid("vectors are stored as float16, float32 or int8");
    if (options.rescore && options.dtype != DType::int8) {
        return Status::invalid("rescore is only for int8 rows: it replaces their scores by those of float32 rows");
    }
    if (Status status = check_shape(ids, embeddings); !status.ok()) return status;
    if (ids.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
        return Status::invalid("an index has at most 2^31 − 1 rows, got " + std::to_string(ids.size()));
    }
    if (Status status = check_names(options.columns); !status.ok()) return status;
    if (Status status = check_names(options.code_columns); !status.ok()) return status;
    for (const Column& column : options.columns) {
        if (Status status = check_column(column, ids.size()); !status.ok()) return status;
    }
    return check_code_columns(options.code_columns, ids.size());
}

}  // namespace

ItemIndex::ItemIndex(std::shared_ptr<GenerationStore> store) noexcept : store_(std::move(store)) {}

Result<ItemIndex> ItemIndex::build(std::span<const std::int64_t> ids, MatrixView embeddings,
                                   const BuildOptions& options) noexcept {
    return at_boundary([&]() -> Result<ItemIndex> {
        if (Status status = check_build(ids, embeddings, options); !status.ok()) return status;
        auto g = std::make_unique<Generation>(RowFormat{embeddings.cols, options.dtype});
        if (options.rescore) g->add_exact_rows();
        g->model_version = options.model_version;
        g->versions[0] = {.number = options.model_version, .n_rows = ids.size(), .space_id = options.space_id};
        g->n_items = ids.size();
        g->id_map = IdMap(ids.size());
        std::vector<const Column*> columns;
        for (const Column& column : options.columns) {
            columns.push_back(&column);
            g->columns.emplace_back(column.name, column.dtype);
        }
        std::vector<const Column*> codes;
        std::vector<std::string> code_names;
        for (const Column& column : options.code_columns) {
            codes.push_back(&column);
            code_names.emplace_back(column.name);
        }
        g->add_code_columns(std::move(code_names));
        g->grow(ids.size());
        VectorInput vectors(embeddings, options.dtype);
        for (std::size_t i = 0; i < ids.size(); ++i) {
            if (Status status = vectors.copy_row(i); !status.ok()) return status;
            const std::int64_t id = read_once(ids[i]);
            if (g->id_map.put(id, static_cast<std::int32_t>(i)) >= 0) return repeated_id(id, i);
            g->write_row(i, id, vectors.row(), 0, columns, i);
            g->write_codes(i, codes, i);
        }
        return ItemIndex(std::make_shared<GenerationStore>(std::move(g)));
    });
}

namespace {

// Reads an index file. The generations that show its bytes keep them in memory.
template <class File>
Result<std::unique_ptr<Generation>> first_generation(Result<File> opened, const std::string& path, bool verify) {
    if (!opened.ok()) return opened.status();
    const auto file = std::make_shared<File>(std::move(opened.value()));
    auto contents = read_index(file->bytes(), verify);
    if (!contents.ok()) return Status{contents.status().code(), path + ": " + contents.status().message()};
    return map_index(contents.value(), file, verify);
}

}  // namespace

Result<ItemIndex> ItemIndex::open(const std::string& path, const OpenOptions& options) noexcept {
    return at_boundary([&]() -> Result<ItemIndex> {
        if (Status status = check_isa(); !status.ok()) return status;
        if (Status status = check_path(path); !status.ok()) return status;
        auto first = options.copy ? first_generation<FileCopy>(FileCopy::read(path), path, options.verify)
                                  : first_generation<MappedFile>(MappedFile::open(path), path, options.verify);
        if (!first.ok()) return first.status();
        return ItemIndex(std::make_shared<GenerationStore>(std::move(first.value())));
    });
}

}  // namespace karec
