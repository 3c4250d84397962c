// Ids to rows, and rows to vectors and columns, within one generation. O(rows).
#include <algorithm>
#include <cstring>
#include <string>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "search/pinned_reads.hpp"
#include "search/search_checks.hpp"

namespace karec {

Status lookup_in(const Generation& g, std::span<const std::int64_t> ids, std::span<std::int32_t> rows) {
    if (Status status = check_lengths("ids", ids.size(), "rows", rows.size()); !status.ok()) return status;
    g.id_map.find(ids, rows.data());
    for (std::int32_t& row : rows) {
        if (row < 0 || static_cast<std::size_t>(row) >= g.n_rows()) row = kUnknownRow;
    }
    return {};
}

Status gather_in(const Generation& g, std::span<const std::int32_t> rows, std::span<float> out) {
    const std::size_t dim = g.format.dim;
    Status status = check_lengths("rows × dimensions", rows.size() * dim, "out", out.size());
    if (!status.ok()) return status;
    if (status = check_candidates(Candidates::of_rows(rows), g); !status.ok()) return status;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        float* to = out.data() + i * dim;
        const auto row = static_cast<std::size_t>(rows[i]);
        if (rows[i] == kUnknownRow || g.removed.has(row)) {
            std::fill_n(to, dim, 0.0f);
        } else if (g.keeps_exact) {
            g.exact_format().decode(g.exact.at(row), 1.0f, to);
        } else {
            g.format.decode(g.rows.at(row), g.scale_of(row), to);
        }
    }
    return {};
}

const PagedColumn* find_column(const Generation& g, std::string_view name) noexcept {
    for (const PagedColumn& column : g.columns) {
        if (column.name == name) return &column;
    }
    return nullptr;
}

Status gather_column_in(const Generation& g, std::string_view name, std::span<const std::int32_t> rows,
                        std::span<std::byte> out) {
    const PagedColumn* column = find_column(g, name);
    if (column == nullptr) return Status::invalid("the index has no column '" + std::string(name) + "'");
    const std::size_t width = size_of(column->dtype);
    Status status = check_lengths("rows × bytes of an element", rows.size() * width, "out", out.size());
    if (!status.ok()) return status;
    if (status = check_candidates(Candidates::of_rows(rows), g); !status.ok()) return status;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        std::byte* to = out.data() + i * width;
        if (rows[i] == kUnknownRow || g.removed.has(static_cast<std::size_t>(rows[i]))) {
            std::memset(to, 0, width);
        } else {
            std::memcpy(to, column->values.at(static_cast<std::size_t>(rows[i])), width);
        }
    }
    return {};
}

Status ItemIndex::lookup(std::span<const std::int64_t> ids, std::span<std::int32_t> rows) const noexcept {
    return at_boundary([&] { return lookup_in(*IndexPin(*this), ids, rows); });
}

Status ItemIndex::gather(std::span<const std::int32_t> rows, std::span<float> out) const noexcept {
    return at_boundary([&] { return gather_in(*IndexPin(*this), rows, out); });
}

Result<DType> ItemIndex::column_dtype(std::string_view name) const noexcept {
    return at_boundary([&]() -> Result<DType> {
        const IndexPin g(*this);
        if (const PagedColumn* column = find_column(*g, name); column != nullptr) return column->dtype;
        return Status::invalid("the index has no column '" + std::string(name) + "'");
    });
}

Status ItemIndex::gather_column(std::string_view name, std::span<const std::int32_t> rows,
                                std::span<std::byte> out) const noexcept {
    return at_boundary([&] { return gather_column_in(*IndexPin(*this), name, rows, out); });
}

}  // namespace karec
