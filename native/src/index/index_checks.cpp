#include "index/index_checks.hpp"

#include <cstring>

namespace karec {

Status check_shape(std::span<const std::int64_t> ids, const MatrixView& embeddings) {
    const auto shape = [&] {
        return "(" + std::to_string(embeddings.rows) + ", " + std::to_string(embeddings.cols) + ")";
    };
    if (embeddings.rows != ids.size()) {
        return Status::invalid("embeddings has shape " + shape() + ", ids has shape (" + std::to_string(ids.size()) +
                               ",): expected one row for each id");
    }
    if (embeddings.cols == 0 || embeddings.cols > kMaxDim) {
        return Status::invalid("embeddings has shape " + shape() + ", expected 1 to " + std::to_string(kMaxDim) +
                               " dimensions");
    }
    return check_float(embeddings, "embeddings");
}

VectorInput::VectorInput(const MatrixView& matrix, DType stored)
    : matrix_(matrix), stored_(stored), copy_(matrix.cols * size_of(matrix.dtype)) {}

Status VectorInput::copy_row(std::size_t i) {
    std::memcpy(copy_.data(), static_cast<const std::byte*>(matrix_.data) + i * copy_.size(), copy_.size());
    if (Status status = check_finite(row(), "embeddings", i); !status.ok()) return status;
    return check_range(row(), stored_, i);
}

Status check_column(const Column& column, std::size_t n) {
    if (size_of(column.dtype) != 0 && column.bytes.size() == n * size_of(column.dtype)) return {};
    return Status::invalid("column '" + std::string(column.name) + "' has " + std::to_string(column.bytes.size()) +
                           " bytes, expected " + std::to_string(n) + " elements of " +
                           std::to_string(size_of(column.dtype)));
}

Status check_code_columns(std::span<const Column> columns, std::size_t n) {
    if (columns.size() > kMaxCodeColumns) {
        return Status::invalid("an index has at most " + std::to_string(kMaxCodeColumns) + " code columns, got " +
                               std::to_string(columns.size()));
    }
    for (const Column& column : columns) {
        if (column.dtype != DType::uint32) {
            return Status::invalid("code column '" + std::string(column.name) + "' has dtype " + name_of(column.dtype) +
                                   ", expected uint32");
        }
        if (Status status = check_column(column, n); !status.ok()) return status;
    }
    return {};
}

Status missing_column(std::string_view name) {
    return Status::invalid("the index has no column '" + std::string(name) + "'");
}

Status repeated_id(std::int64_t id, std::size_t position) {
    return Status::invalid("ids must be unique, " + std::to_string(id) + " appears twice (again at position " +
                           std::to_string(position) + ")");
}

Status check_map(const Generation& g) {
    if (g.is_map_verified) return {};
    const auto pieces = g.ids.segments();
    if (g.id_map.matches(pieces.empty() ? std::span<const std::int64_t>() : pieces.front())) return {};
    return Status::bad_format(
        "damaged karec index file: its id map does not match its ids, or too many ids share one bucket");
}

}  // namespace karec
