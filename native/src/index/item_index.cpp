// Build, open and save of ItemIndex, and its properties. Reads by row are in search/gather.cpp, searches in
// search/search.cpp and search/scan.cpp, writes in item_index_writes.cpp.
#include "karec/item_index.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "base/boundary.hpp"
#include "base/mapped_file.hpp"
#include "index/file/index_file.hpp"
#include "index/index_checks.hpp"
#include "index/index_store.hpp"

namespace karec {
namespace {

Status check_build(std::span<const std::int64_t> ids, const MatrixView& embeddings,
                   const ItemIndex::BuildOptions& options) {
    if (Status status = check_isa(); !status.ok()) return status;
    const bool known =
        options.dtype == DType::float16 || options.dtype == DType::float32 || options.dtype == DType::int8;
    if (!known) return Status::invalid("vectors are stored as float16, float32 or int8");
    if (options.rescore && options.dtype != DType::int8) {
        return Status::invalid("rescore is for int8 rows: others are what it would rescore from");
    }
    if (Status status = check_vectors(ids, embeddings, options.dtype); !status.ok()) return status;
    if (ids.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
        return Status::invalid("an index holds at most 2^31 − 1 rows, got " + std::to_string(ids.size()));
    }
    for (std::size_t c = 0; c < options.columns.size(); ++c) {
        const Column& column = options.columns[c];
        const std::string name(column.name);
        if (name.empty() || name.size() > kMaxColumnName || name.find('\0') != std::string::npos) {
            return Status::invalid("a column's name has 1 to " + std::to_string(kMaxColumnName) +
                                   " bytes of UTF-8, got '" + name + "'");
        }
        if (Status status = check_column(column, ids.size()); !status.ok()) return status;
        for (std::size_t other = 0; other < c; ++other) {
            if (options.columns[other].name == column.name)
                return Status::invalid("column '" + name + "' stands twice");
        }
    }
    return {};
}

}  // namespace

ItemIndex::ItemIndex(std::shared_ptr<Store> store) noexcept : store_(std::move(store)) {}

Result<ItemIndex> ItemIndex::build(std::span<const std::int64_t> ids, MatrixView embeddings,
                                   const BuildOptions& options) noexcept {
    return at_boundary([&]() -> Result<ItemIndex> {
        if (Status status = check_build(ids, embeddings, options); !status.ok()) return status;
        auto g = std::make_unique<Generation>(RowFormat{embeddings.cols, options.dtype});
        if (options.rescore) g->keep_exact();
        g->model_version = options.model_version;
        g->versions.push_back({options.model_version, ids.size()});
        g->n_works = ids.size();
        g->id_map = IdMap(ids.size());
        for (const Column& column : options.columns) {
            PagedArray<std::byte> values(size_of(column.dtype), kLargePage);
            g->columns.push_back({std::string(column.name), column.dtype, std::move(values)});
        }
        g->grow(ids.size());
        for (std::size_t i = 0; i < ids.size(); ++i) {
            if (g->id_map.put(ids[i], static_cast<std::int32_t>(i)) >= 0) return stands_twice(ids[i], i);
            g->write_row(i, ids[i], embeddings, i, 0, options.columns);
        }
        return ItemIndex(std::make_shared<Store>(std::move(g)));
    });
}

namespace {

Status check_path(const std::string& path) {
    return path.find('\0') == std::string::npos ? Status{} : Status::invalid("the path holds a NUL byte");
}

}  // namespace

Result<ItemIndex> ItemIndex::open(const std::string& path, const OpenOptions& options) noexcept {
    return at_boundary([&]() -> Result<ItemIndex> {
        if (Status status = check_isa(); !status.ok()) return status;
        if (Status status = check_path(path); !status.ok()) return status;
        auto mapped = MappedFile::open(path);
        if (!mapped.ok()) return mapped.status();
        const auto file = std::make_shared<MappedFile>(std::move(mapped.value()));
        auto contents = read_index(file->bytes(), options.verify);
        if (!contents.ok()) return Status{contents.status().code(), path + ": " + contents.status().message()};
        auto first = map_index(contents.value(), file);
        first->map_verified = options.verify;
        return ItemIndex(std::make_shared<Store>(std::move(first)));
    });
}

Status ItemIndex::save(const std::string& path) const noexcept {
    return at_boundary([&] {
        if (Status status = check_path(path); !status.ok()) return status;
        const GenerationStore::Pin g(store_->generations);
        if (Status status = check_map(*g); !status.ok()) return status;
        // A file's id map has the size that follows from the number of works; one of another size is rebuilt.
        const bool as_built = g->n_rows() == g->n_works && g->id_map.buckets().size() == id_bucket_count(g->n_works);
        return write_index(path, as_built ? *g : g->compacted());
    });
}

std::size_t ItemIndex::size() const noexcept {
    return GenerationStore::Pin(store_->generations)->n_works;
}
std::size_t ItemIndex::n_rows() const noexcept {
    return GenerationStore::Pin(store_->generations)->n_rows();
}
std::size_t ItemIndex::dim() const noexcept {
    return GenerationStore::Pin(store_->generations)->format.dim;
}
DType ItemIndex::dtype() const noexcept {
    return GenerationStore::Pin(store_->generations)->format.dtype;
}
bool ItemIndex::rescores() const noexcept {
    return GenerationStore::Pin(store_->generations)->keeps_exact;
}
std::int64_t ItemIndex::model_version() const noexcept {
    return GenerationStore::Pin(store_->generations)->model_version;
}
Result<std::vector<std::int64_t>> ItemIndex::model_versions() const noexcept {
    return at_boundary([&]() -> Result<std::vector<std::int64_t>> {
        std::vector<std::int64_t> found;
        const GenerationStore::Pin g(store_->generations);
        for (const ModelVersion& version : g->versions) {
            if (version.n_rows > 0) found.push_back(version.number);
        }
        std::ranges::sort(found);
        return found;
    });
}
Result<std::vector<ColumnType>> ItemIndex::column_types() const noexcept {
    return at_boundary([&]() -> Result<std::vector<ColumnType>> {
        std::vector<ColumnType> types;
        const GenerationStore::Pin g(store_->generations);
        for (const PagedColumn& column : g->columns) types.push_back({column.name, column.dtype});
        return types;
    });
}
std::uint64_t ItemIndex::generation() const noexcept {
    return GenerationStore::Pin(store_->generations)->number;
}
std::size_t ItemIndex::bytes() const noexcept {
    return GenerationStore::Pin(store_->generations)->bytes();
}

namespace {

// An IndexTable together with the memory that it points into: pages of a file, or copies.
struct OwnedTable : IndexTable {
    std::vector<std::string> names;
    std::vector<Column> views;
    std::vector<Buffer> copies;
    std::vector<std::uint8_t> present_rows;
    PagedArray<std::int64_t> file_ids;
    std::vector<PagedColumn> file_columns;

    // Skips rows of removed works: a writer may be writing them at this moment.
    template <class T>
    std::span<const T> whole(const PagedArray<T>& pages, const Generation& g, std::size_t width) {
        const auto pieces = pages.segments();
        if (pieces.size() == 1 && pages.is_mapped()) return pieces.front();
        const std::size_t n = g.n_rows() * width;
        const auto to = copies.emplace_back(n * sizeof(T)).template as<T>();
        for (std::size_t row = 0; row < g.n_rows(); ++row) {
            if (!g.removed.has(row)) std::memcpy(&to[row * width], pages.at(row), width * sizeof(T));
        }
        return to.first(n);
    }
};

}  // namespace

Result<std::shared_ptr<const IndexTable>> ItemIndex::table() const noexcept {
    return at_boundary([&]() -> Result<std::shared_ptr<const IndexTable>> {
        const GenerationStore::Pin g(store_->generations);
        auto table = std::make_shared<OwnedTable>();
        table->generation = g->number;
        if (g->ids.is_mapped()) table->file_ids = g->ids;
        if (g->ids.is_mapped()) table->file_columns = g->columns;
        table->ids = table->whole(g->ids, *g, 1);
        table->names.reserve(g->columns.size());
        for (const PagedColumn& column : g->columns) {
            const auto bytes = table->whole(column.values, *g, size_of(column.dtype));
            table->views.push_back({table->names.emplace_back(column.name), column.dtype, bytes});
        }
        table->columns = table->views;
        if (g->n_works < g->n_rows()) {
            table->present_rows.resize(g->n_rows());
            for (std::size_t row = 0; row < g->n_rows(); ++row) table->present_rows[row] = !g->removed.has(row);
            table->present = table->present_rows;
        }
        return std::shared_ptr<const IndexTable>(std::move(table));
    });
}

}  // namespace karec
