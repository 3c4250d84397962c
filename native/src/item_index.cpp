// Building, opening and saving an index, and what it says about itself. Searching is in search.cpp.
#include "karec/item_index.hpp"

#include <cstring>
#include <limits>
#include <utility>

#include "boundary.hpp"
#include "index_store.hpp"

namespace karec {
namespace {

std::string count(std::size_t n) {
    return std::to_string(n);
}

Status check_build(std::span<const std::int64_t> ids, const MatrixView& embeddings,
                   const ItemIndex::BuildOptions& options) {
    if (embeddings.rows != ids.size()) {
        return Status::invalid("embeddings has shape (" + count(embeddings.rows) + ", " + count(embeddings.cols) +
                               "), ids has shape (" + count(ids.size()) + ",): expected one row for each id");
    }
    if (embeddings.cols == 0 || embeddings.cols > kMaxDim) {
        return Status::invalid("embeddings has shape (" + count(embeddings.rows) + ", " + count(embeddings.cols) +
                               "), expected 1 to " + count(kMaxDim) + " dimensions");
    }
    if (ids.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
        return Status::invalid("an index holds at most 2^31 − 1 rows, got " + count(ids.size()));
    }
    const auto floating16or32 = [](DType type) { return type == DType::float16 || type == DType::float32; };
    if (!floating16or32(options.dtype) || !floating16or32(embeddings.dtype)) {
        return Status::invalid("vectors are float16 or float32");
    }
    for (std::size_t c = 0; c < options.columns.size(); ++c) {
        const Column& column = options.columns[c];
        const std::string name(column.name);
        if (name.empty() || name.size() > kMaxColumnName || name.find('\0') != std::string::npos) {
            return Status::invalid("a column's name has 1 to " + count(kMaxColumnName) + " bytes of UTF-8, got '" +
                                   name + "'");
        }
        if (column.bytes.size() != ids.size() * size_of(column.dtype) || size_of(column.dtype) == 0) {
            return Status::invalid("column '" + name + "' has " + count(column.bytes.size()) + " bytes, expected " +
                                   count(ids.size()) + " elements of " + count(size_of(column.dtype)));
        }
        for (std::size_t other = 0; other < c; ++other) {
            if (options.columns[other].name == column.name)
                return Status::invalid("column '" + name + "' stands twice");
        }
    }
    return {};
}

}  // namespace

ItemIndex::ItemIndex(std::shared_ptr<const Store> store) noexcept : store_(std::move(store)) {}

Result<ItemIndex> ItemIndex::build(std::span<const std::int64_t> ids, MatrixView embeddings,
                                   const BuildOptions& options) noexcept {
    return at_boundary([&]() -> Result<ItemIndex> {
        if (Status status = check_build(ids, embeddings, options); !status.ok()) return status;
        auto store = std::make_shared<Store>();
        IndexContents& contents = store->contents;
        contents.model_version = options.model_version;

        store->ids = Buffer(ids.size_bytes());
        if (!ids.empty()) std::memcpy(store->ids.as<std::byte>().data(), ids.data(), ids.size_bytes());
        contents.ids = store->ids.as<std::int64_t>();

        store->buckets = Buffer(id_bucket_count(ids.size()) * sizeof(IdBucket));
        contents.buckets = store->buckets.as<IdBucket>();
        if (Status status = fill_id_map(ids, store->buckets.as<IdBucket>()); !status.ok()) return status;

        contents.rows = {nullptr, ids.size(), embeddings.cols, options.dtype};
        store->rows = Buffer(contents.rows.bytes());
        contents.rows.base = store->rows.as<std::byte>().data();
        if (Status status = encode_rows(embeddings, contents.rows, store->rows.as<std::byte>().data()); !status.ok()) {
            return status;
        }

        store->names.reserve(options.columns.size());
        for (const Column& column : options.columns) {
            const auto bytes = store->columns.emplace_back(column.bytes.size()).as<std::byte>();
            if (!bytes.empty()) std::memcpy(bytes.data(), column.bytes.data(), bytes.size());
            contents.columns.push_back({store->names.emplace_back(column.name), column.dtype, bytes});
        }
        return ItemIndex(std::move(store));
    });
}

Result<ItemIndex> ItemIndex::open(const std::string& path) noexcept {
    return at_boundary([&]() -> Result<ItemIndex> {
        auto file = MappedFile::open(path);
        if (!file.ok()) return file.status();
        auto contents = read_index(file->bytes());
        if (!contents.ok()) return Status{contents.status().code(), path + ": " + contents.status().message()};
        auto store = std::make_shared<Store>();
        store->file = std::move(file.value());
        store->contents = std::move(contents.value());
        return ItemIndex(std::move(store));
    });
}

Status ItemIndex::save(const std::string& path) const noexcept {
    return at_boundary([&] { return write_index(path, store_->contents); });
}

std::size_t ItemIndex::size() const noexcept {
    return store_->contents.ids.size();
}
std::size_t ItemIndex::dim() const noexcept {
    return store_->contents.rows.dim;
}
DType ItemIndex::dtype() const noexcept {
    return store_->contents.rows.dtype;
}
std::int64_t ItemIndex::model_version() const noexcept {
    return store_->contents.model_version;
}
std::uint64_t ItemIndex::generation() const noexcept {
    return store_->contents.generation;
}
std::span<const std::int64_t> ItemIndex::ids() const noexcept {
    return store_->contents.ids;
}
std::span<const Column> ItemIndex::columns() const noexcept {
    return store_->contents.columns;
}

}  // namespace karec
