#include "index_checks.hpp"

#include <algorithm>
#include <limits>

namespace karec {
namespace {

std::string count(std::size_t n) {
    return std::to_string(n);
}

}  // namespace

Status check_lengths(const char* first, std::size_t n_first, const char* second, std::size_t n_second) {
    if (n_first == n_second) return {};
    return Status::invalid(std::string(first) + " has " + count(n_first) + " entries, " + second + " has " +
                           count(n_second));
}

Status check_vectors(std::span<const std::int64_t> ids, const MatrixView& embeddings, DType stored) {
    const auto shape = [&] { return "(" + count(embeddings.rows) + ", " + count(embeddings.cols) + ")"; };
    if (embeddings.rows != ids.size()) {
        return Status::invalid("embeddings has shape " + shape() + ", ids has shape (" + count(ids.size()) +
                               ",): expected one row for each id");
    }
    if (embeddings.cols == 0 || embeddings.cols > kMaxDim) {
        return Status::invalid("embeddings has shape " + shape() + ", expected 1 to " + count(kMaxDim) + " dimensions");
    }
    if (embeddings.dtype != DType::float16 && embeddings.dtype != DType::float32) {
        return Status::invalid("vectors are given as float16 or float32");
    }
    if (Status status = check_finite(embeddings, "embeddings"); !status.ok()) return status;
    return check_range(embeddings, stored);
}

Status check_column(const Column& column, std::size_t n) {
    if (size_of(column.dtype) != 0 && column.bytes.size() == n * size_of(column.dtype)) return {};
    return Status::invalid("column '" + std::string(column.name) + "' has " + count(column.bytes.size()) +
                           " bytes, expected " + count(n) + " elements of " + count(size_of(column.dtype)));
}

Status stands_twice(std::int64_t id, std::size_t again) {
    return Status::invalid("ids must be unique, " + std::to_string(id) + " stands twice (again at " + count(again) +
                           ")");
}

Status check_map(const Generation& g) {
    if (g.map_verified) return {};
    const auto pieces = g.ids.pieces();
    if (g.id_map.matches(pieces.empty() ? std::span<const std::int64_t>() : pieces.front())) return {};
    return Status::bad_format("not a whole karec index file: its id map does not fit its ids");
}

Status check_candidates(const Candidates& candidates, const Generation& g) {
    if (candidates.size() > std::numeric_limits<std::uint32_t>::max()) {
        return Status::invalid("a search takes at most 2^32 − 1 candidates, got " + count(candidates.size()));
    }
    if (!candidates.ids.empty() && !candidates.rows.empty()) {
        return Status::invalid("candidates are given as ids or as rows, not as both");
    }
    const auto n = static_cast<std::int64_t>(g.n_rows());
    std::int32_t low = kUnknownRow;
    std::int32_t high = kUnknownRow;
    for (const std::int32_t row : candidates.rows) {
        low = std::min(low, row);
        high = std::max(high, row);
    }
    if (low == kUnknownRow && high < n) return {};
    const auto bad = std::ranges::find_if(candidates.rows, [n](std::int32_t row) { return row < -1 || row >= n; });
    return Status::invalid("rows holds " + std::to_string(*bad) + " at position " +
                           std::to_string(bad - candidates.rows.begin()) + ", expected -1 (unknown) to " +
                           std::to_string(n) + " (exclusive)");
}

Status check_ranked(const Ranked& out) {
    const std::size_t n = out.scores.size();
    if (Status status = check_lengths("out.scores", n, "out.ids", out.ids.size()); !status.ok()) return status;
    if (Status status = check_lengths("out.scores", n, "out.rows", out.rows.size()); !status.ok()) return status;
    return check_lengths("out.scores", n, "out.positions", out.positions.size());
}

Status check_lists(const Ranked& out, std::size_t n) {
    if (Status status = check_ranked(out); !status.ok()) return status;
    if (n == 0 || out.scores.size() % n == 0) return {};
    return Status::invalid("out has " + count(out.scores.size()) + " entries, expected the same number for " +
                           count(n) + " queries");
}

Ranked list_of(const Ranked& out, std::size_t list, std::size_t length) {
    const std::size_t at = list * length;
    return {out.scores.subspan(at, length), out.ids.subspan(at, length), out.rows.subspan(at, length),
            out.positions.subspan(at, length)};
}

void pad_list(const Ranked& list, std::size_t found) {
    std::ranges::fill(list.scores.subspan(found), -std::numeric_limits<float>::infinity());
    std::ranges::fill(list.ids.subspan(found), -1);
    std::ranges::fill(list.rows.subspan(found), kUnknownRow);
    std::ranges::fill(list.positions.subspan(found), -1);
}

Status check_query(const Query& query, const Generation& g, const std::string& name) {
    const auto one = [&](std::span<const float> values, const std::string& of) {
        if (values.size() != g.format.dim) {
            return Status::invalid(of + " has " + count(values.size()) + " values, expected " + count(g.format.dim));
        }
        return check_finite(values, of.c_str());
    };
    for (const VersionQuery& each : query.by_version) {
        const std::string of = name + " of model version " + std::to_string(each.model_version);
        if (Status status = one(each.values, of); !status.ok()) return status;
    }
    if (!query.by_version.empty()) return {};
    if (Status status = one(query.values, name); !status.ok()) return status;
    std::string standing;
    std::size_t n_standing = 0;
    for (const ModelVersion& version : g.versions) {
        if (version.n_rows == 0) continue;
        standing += (n_standing++ > 0 ? ", " : "") + std::to_string(version.number);
    }
    if (n_standing < 2) return {};
    return Status::invalid("the index holds vectors of model versions " + standing +
                           ": give a query for each (query_by_version)");
}

}  // namespace karec
