// IndexView: the pin, properties, table and file of its generation. Reads by row are in search/gather.cpp, searches in
// search/search.cpp and search/scan.cpp, the DPP in diversity/dpp_of_index.cpp.
#include "karec/index_view.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "base/boundary.hpp"
#include "base/buffer.hpp"
#include "index/file/index_file.hpp"
#include "index/generation_store.hpp"
#include "index/index_checks.hpp"

namespace karec {

IndexView::IndexView(std::shared_ptr<const GenerationStore> store) noexcept
    : store_(std::move(store)),
      slot_(store_->pin()),
      epoch_(slot_->epoch),
      generation_(slot_->generation.load(std::memory_order_relaxed)) {}

IndexView::IndexView(IndexView&& other) noexcept
    : store_(std::move(other.store_)),
      slot_(std::exchange(other.slot_, nullptr)),
      epoch_(other.epoch_),
      generation_(other.generation_) {}

IndexView& IndexView::operator=(IndexView&& other) noexcept {
    if (this == &other) return *this;
    release();
    store_ = std::move(other.store_);
    slot_ = std::exchange(other.slot_, nullptr);
    epoch_ = other.epoch_;
    generation_ = other.generation_;
    return *this;
}

IndexView::~IndexView() {
    release();
}

void IndexView::release() noexcept {
    if (slot_ != nullptr && slot_->epoch == epoch_) GenerationStore::unpin(slot_);
}

Status IndexView::check_held() const {
    if (slot_->epoch == epoch_) return {};
    return {Code::unavailable,
            "another thread took this view before the process was forked: take a new one (pinned())"};
}

std::size_t IndexView::size() const noexcept {
    return generation_->n_items;
}
std::size_t IndexView::n_rows() const noexcept {
    return generation_->n_rows();
}
std::size_t IndexView::dim() const noexcept {
    return generation_->format.dim;
}
DType IndexView::dtype() const noexcept {
    return generation_->format.dtype;
}
bool IndexView::rescores() const noexcept {
    return generation_->has_exact_rows;
}
std::int64_t IndexView::model_version() const noexcept {
    return generation_->model_version;
}
std::uint64_t IndexView::generation() const noexcept {
    return generation_->number;
}
std::size_t IndexView::n_lists() const noexcept {
    return generation_->lists == nullptr ? 0 : generation_->lists->n();
}
std::size_t IndexView::bytes() const noexcept {
    return generation_->bytes();
}

Result<std::vector<ModelVersion>> IndexView::versions() const noexcept {
    return at_boundary([&]() -> Result<std::vector<ModelVersion>> {
        std::vector<ModelVersion> found;
        std::ranges::copy_if(generation_->used_versions(), std::back_inserter(found),
                             [](const ModelVersion& version) { return version.n_rows > 0; });
        std::ranges::sort(found, {}, &ModelVersion::number);
        return found;
    });
}

Result<std::vector<std::int64_t>> IndexView::model_versions() const noexcept {
    return at_boundary([&]() -> Result<std::vector<std::int64_t>> {
        std::vector<std::int64_t> numbers;
        for (const ModelVersion& version : generation_->used_versions()) {
            if (version.n_rows > 0) numbers.push_back(version.number);
        }
        std::ranges::sort(numbers);
        return numbers;
    });
}

Result<std::vector<ColumnType>> IndexView::column_types() const noexcept {
    return at_boundary([&]() -> Result<std::vector<ColumnType>> {
        std::vector<ColumnType> types;
        types.reserve(generation_->columns.size());
        for (const PagedColumn& column : generation_->columns) types.push_back({column.name, column.dtype});
        return types;
    });
}

Result<DType> IndexView::column_dtype(std::string_view name) const noexcept {
    return at_boundary([&]() -> Result<DType> {
        if (const PagedColumn* column = generation_->find_column(name); column != nullptr) return column->dtype;
        return missing_column(name);
    });
}

Result<std::vector<std::string>> IndexView::code_columns() const noexcept {
    return at_boundary([&]() -> Result<std::vector<std::string>> { return generation_->code_columns; });
}

Status IndexView::save(const std::string& path) const noexcept {
    return at_boundary([&] {
        if (Status status = check_path(path); !status.ok()) return status;
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        if (Status status = check_map(g); !status.ok()) return status;
        // The id map of a file has the size for its number of items, so a map of another size is rebuilt.
        const bool is_compact = g.n_rows() == g.n_items && g.id_map.buckets().size() == id_bucket_count(g.n_items) &&
                                (g.lists == nullptr || g.is_in_list_order());
        return write_index(path, is_compact ? g : g.copy_compact());
    });
}

namespace {

// An IndexTable with the memory that it points to: pages of a mapped file, or copies.
struct OwnedTable : IndexTable {
    PagedArray<std::int64_t> id_pages;
    std::vector<PagedColumn> column_pages;
    std::vector<Buffer> copies;
    std::vector<Column> column_views;
    std::vector<std::uint8_t> present_rows;

    // All elements of `width` Ts each; zeros for removed rows of a copy, which a writer may be writing at this moment.
    template <class T>
    std::span<const T> read_all(const PagedArray<T>& pages, const RowSet& removed, std::size_t width) {
        const auto pieces = pages.segments();
        if (pieces.size() == 1 && pages.is_mapped()) return pieces.front();
        const auto to = copies.emplace_back(pages.size() * width * sizeof(T)).template as<T>();
        for (std::size_t row = 0; row < pages.size(); ++row) {
            if (!removed.has(row)) std::memcpy(&to[row * width], pages.at(row), width * sizeof(T));
        }
        return to.first(pages.size() * width);
    }

    std::span<const std::byte> read_column(const PagedColumn& column, const RowSet& removed) {
        const auto bytes = read_all(column.values, removed, size_of(column.dtype));
        const auto is_flag = [](std::byte byte) { return byte <= std::byte{1}; };
        if (column.dtype != DType::boolean || std::ranges::all_of(bytes, is_flag)) return bytes;
        // A bool is 0 or 1: any byte but 0 is true.
        const auto flags = copies.emplace_back(bytes.size()).as<std::byte>();
        std::ranges::transform(bytes, flags.begin(), [](std::byte byte) { return std::byte{byte != std::byte{0}}; });
        return flags.first(bytes.size());
    }
};

}  // namespace

Result<std::shared_ptr<const IndexTable>> IndexView::table() const noexcept {
    return at_boundary([&]() -> Result<std::shared_ptr<const IndexTable>> {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        auto table = std::make_shared<OwnedTable>();
        table->generation = g.number;
        table->id_pages = g.ids;
        table->column_pages = g.columns;
        table->ids = table->read_all(table->id_pages, g.removed, 1);
        for (const PagedColumn& column : table->column_pages) {
            table->column_views.push_back({column.name, column.dtype, table->read_column(column, g.removed)});
        }
        table->columns = table->column_views;
        if (g.n_items < g.n_rows()) {
            table->present_rows.resize(g.n_rows());
            for (std::size_t row = 0; row < g.n_rows(); ++row) table->present_rows[row] = !g.removed.has(row);
            table->present = table->present_rows;
        }
        return std::shared_ptr<const IndexTable>(std::move(table));
    });
}

}  // namespace karec
