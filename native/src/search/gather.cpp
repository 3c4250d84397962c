// IndexView::lookup and gather…: ids to rows, rows to vectors, columns and model versions. O(rows).
#include <algorithm>
#include <cstring>
#include <string>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/read_once.hpp"
#include "index/generation.hpp"
#include "index/index_checks.hpp"
#include "search/search_checks.hpp"

namespace karec {
namespace {

// Rows whose values are prefetched while one is copied: 16 took twice as long at a million items.
constexpr std::size_t kAhead = 64;

// A row of the caller's list as it is now; kUnknownRow becomes larger than every row. Another thread may have written
// to the list since it was checked.
std::size_t read_row(const std::int32_t& row) noexcept {
    return static_cast<std::size_t>(std::int64_t{read_once(row)});
}

// Calls copy(i, row) for each of `rows` that has an item, and clear(i) for the others.
template <class Copy, class Clear>
void for_each_row(const Generation& g, std::span<const std::int32_t> rows, Copy&& copy, Clear&& clear) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::size_t row = read_row(rows[i]);
        if (row >= g.n_rows() || g.removed.has(row)) {
            clear(i);
        } else {
            copy(i, row);
        }
    }
}

// Values are prefetched, because columns of a large index are not in cache. A copy of constant width is one load and
// one store.
template <std::size_t Width>
void gather_values(const Generation& g, const PagedColumn& column, std::span<const std::int32_t> rows, std::byte* out) {
    const auto prefetch = [&](std::size_t i) {
        if (i + kAhead >= rows.size()) return;
        const std::size_t row = read_row(rows[i + kAhead]);
        if (row < g.n_rows()) __builtin_prefetch(column.values.at(row));
    };
    for_each_row(
        g, rows,
        [&](std::size_t i, std::size_t row) {
            prefetch(i);
            std::memcpy(out + i * Width, column.values.at(row), Width);
        },
        [&](std::size_t i) {
            prefetch(i);
            std::memset(out + i * Width, 0, Width);
        });
}

// Checks the rows of a gather, and the number of its outputs.
Status check_gather(const Generation& g, const Rows& rows, const char* name, std::size_t width, std::size_t n_out) {
    Status status = check_lengths(name, rows.values.size() * width, "out", n_out);
    return status.ok() ? check_candidates(Candidates::of_rows(rows), g) : status;
}

}  // namespace

Status IndexView::lookup(std::span<const std::int64_t> ids, std::span<std::int32_t> rows) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_held(); !status.ok()) return status;
        if (Status status = check_lengths("ids", ids.size(), "rows", rows.size()); !status.ok()) return status;
        generation_->id_map.find(ids, rows.data());
        for (std::int32_t& row : rows) {
            if (row < 0 || static_cast<std::size_t>(row) >= generation_->n_rows()) row = kUnknownRow;
        }
        return {};
    });
}

Status IndexView::gather(const Rows& rows, std::span<float> out) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        const std::size_t dim = g.format.dim;
        if (Status status = check_gather(g, rows, "rows × dimensions", dim, out.size()); !status.ok()) return status;
        for_each_row(
            g, rows.values, [&](std::size_t i, std::size_t row) { g.decode(row, out.data() + i * dim); },
            [&](std::size_t i) { std::fill_n(out.data() + i * dim, dim, 0.0f); });
        return {};
    });
}

Status IndexView::gather_column(std::string_view name, const Rows& rows, std::span<std::byte> out) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        const PagedColumn* column = g.find_column(name);
        if (column == nullptr) return missing_column(name);
        const std::size_t width = size_of(column->dtype);
        Status status = check_gather(g, rows, "rows × bytes of an element", width, out.size());
        if (!status.ok()) return status;
        const auto gather_width = width == 1   ? gather_values<1>
                                  : width == 2 ? gather_values<2>
                                  : width == 4 ? gather_values<4>
                                               : gather_values<8>;
        gather_width(g, *column, rows.values, out.data());
        if (column->dtype == DType::boolean) {
            for (std::byte& flag : out) flag = std::byte{flag != std::byte{0}};
        }
        return {};
    });
}

Status IndexView::gather_model_versions(const Rows& rows, std::span<std::int64_t> out) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        if (Status status = check_gather(g, rows, "rows", 1, out.size()); !status.ok()) return status;
        for_each_row(
            g, rows.values, [&](std::size_t i, std::size_t row) { out[i] = g.versions[g.code_of(row)].number; },
            [&](std::size_t i) { out[i] = 0; });
        return {};
    });
}

}  // namespace karec
