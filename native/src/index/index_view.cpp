// IndexView: the pin, the properties, the table and the file of its generation. Reads by row are in search/gather.cpp,
// searches in search/search.cpp and search/scan.cpp, the DPP in diversity/dpp_of_index.cpp.
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
      generation_(GenerationStore::held_by(slot_)) {}

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
    return generation_->n_works;
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
    return generation_->keeps_exact;
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
        std::vector<std::int64_t> found;
        for (const ModelVersion& version : generation_->used_versions()) {
            if (version.n_rows > 0) found.push_back(version.number);
        }
        std::ranges::sort(found);
        return found;
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
        return no_column(name);
    });
}

Status IndexView::save(const std::string& path) const noexcept {
    return at_boundary([&] {
        if (Status status = check_path(path); !status.ok()) return status;
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        if (Status status = check_map(g); !status.ok()) return status;
        // A file's id map has the size that follows from the number of works; one of another size is rebuilt.
        const bool as_built = g.n_rows() == g.n_works && g.id_map.buckets().size() == id_bucket_count(g.n_works) &&
                              (g.lists == nullptr || g.in_list_order());
        return write_index(path, as_built ? g : g.compacted());
    });
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

    std::span<const std::byte> column(const PagedColumn& from, const Generation& g) {
        const auto bytes = whole(from.values, g, size_of(from.dtype));
        const auto is_flag = [](std::byte byte) { return byte <= std::byte{1}; };
        if (from.dtype != DType::boolean || std::ranges::all_of(bytes, is_flag)) return bytes;
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
        if (g.ids.is_mapped()) table->file_ids = g.ids;
        if (g.ids.is_mapped()) table->file_columns = g.columns;
        table->ids = table->whole(g.ids, g, 1);
        table->names.reserve(g.columns.size());
        for (const PagedColumn& column : g.columns) {
            const auto bytes = table->column(column, g);
            table->views.push_back({table->names.emplace_back(column.name), column.dtype, bytes});
        }
        table->columns = table->views;
        if (g.n_works < g.n_rows()) {
            table->present_rows.resize(g.n_rows());
            for (std::size_t row = 0; row < g.n_rows(); ++row) table->present_rows[row] = !g.removed.has(row);
            table->present = table->present_rows;
        }
        return std::shared_ptr<const IndexTable>(std::move(table));
    });
}

}  // namespace karec
