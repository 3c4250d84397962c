// Columns by row, within one generation: O(rows), whatever was written before.
#include <cstring>
#include <string>

#include "boundary.hpp"
#include "index_checks.hpp"
#include "index_reads.hpp"

namespace karec {

const ColumnPages* find_column(const Generation& g, std::string_view name) noexcept {
    for (const ColumnPages& column : g.columns) {
        if (column.name == name) return &column;
    }
    return nullptr;
}

Status gather_column_in(const Generation& g, std::string_view name, std::span<const std::int32_t> rows,
                        std::span<std::byte> out) {
    const ColumnPages* column = find_column(g, name);
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

Result<DType> ItemIndex::column_dtype(std::string_view name) const noexcept {
    return at_boundary([&]() -> Result<DType> {
        const IndexPin g(*this);
        if (const ColumnPages* column = find_column(*g, name); column != nullptr) return column->dtype;
        return Status::invalid("the index has no column '" + std::string(name) + "'");
    });
}

Status ItemIndex::gather_column(std::string_view name, std::span<const std::int32_t> rows,
                                std::span<std::byte> out) const noexcept {
    return at_boundary([&] { return gather_column_in(*IndexPin(*this), name, rows, out); });
}

}  // namespace karec
