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

// A row of the caller's list, as it is now; kUnknownRow is above every row. Rows were checked before the first is used,
// but another thread may have written to the list since: each is compared with n_rows again.
std::size_t row_of(const std::int32_t& row) noexcept {
    return static_cast<std::size_t>(std::int64_t{read_once(row)});
}

// Rows whose values are on their way from memory while one is copied: 16 took twice as long at a million works.
constexpr std::size_t kAhead = 64;

// A column's value of each row, 0 where the row holds no work. The columns of a large index lie outside the caches:
// values are prefetched, and a copy of constant width is one load and one store.
template <std::size_t Width>
void gather_values(const Generation& g, const PagedColumn& column, std::span<const std::int32_t> rows, std::byte* out) {
    for (std::size_t i = 0; i < rows.size(); ++i, out += Width) {
        if (i + kAhead < rows.size()) {
            const std::size_t next = row_of(rows[i + kAhead]);
            if (next < g.n_rows()) __builtin_prefetch(column.values.at(next));
        }
        const std::size_t row = row_of(rows[i]);
        if (row >= g.n_rows() || g.removed.has(row)) {
            std::memset(out, 0, Width);
        } else {
            std::memcpy(out, column.values.at(row), Width);
        }
    }
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
        Status status = check_lengths("rows × dimensions", rows.values.size() * dim, "out", out.size());
        if (!status.ok()) return status;
        if (status = check_candidates(Candidates::of_rows(rows), g); !status.ok()) return status;
        for (std::size_t i = 0; i < rows.values.size(); ++i) {
            float* to = out.data() + i * dim;
            const std::size_t row = row_of(rows.values[i]);
            if (row >= g.n_rows() || g.removed.has(row)) {
                std::fill_n(to, dim, 0.0f);
            } else if (g.keeps_exact) {
                g.exact_format().decode(g.exact.at(row), 1.0f, to);
            } else {
                g.format.decode(g.rows.at(row), g.scale_of(row), to);
            }
        }
        return {};
    });
}

Status IndexView::gather_column(std::string_view name, const Rows& rows, std::span<std::byte> out) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        const PagedColumn* column = g.find_column(name);
        if (column == nullptr) return no_column(name);
        const std::size_t width = size_of(column->dtype);
        Status status = check_lengths("rows × bytes of an element", rows.values.size() * width, "out", out.size());
        if (!status.ok()) return status;
        if (status = check_candidates(Candidates::of_rows(rows), g); !status.ok()) return status;
        switch (width) {
            case 1:
                gather_values<1>(g, *column, rows.values, out.data());
                break;
            case 2:
                gather_values<2>(g, *column, rows.values, out.data());
                break;
            case 4:
                gather_values<4>(g, *column, rows.values, out.data());
                break;
            default:
                gather_values<8>(g, *column, rows.values, out.data());
        }
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
        Status status = check_lengths("rows", rows.values.size(), "out", out.size());
        if (!status.ok()) return status;
        if (status = check_candidates(Candidates::of_rows(rows), g); !status.ok()) return status;
        for (std::size_t i = 0; i < rows.values.size(); ++i) {
            const std::size_t row = row_of(rows.values[i]);
            const bool none = row >= g.n_rows() || g.removed.has(row);
            out[i] = none ? 0 : g.versions[g.code_of(row)].number;
        }
        return {};
    });
}

}  // namespace karec
