#include "search/search_checks.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/checks.hpp"
#include "base/read_once.hpp"

namespace karec {
namespace {

Status check_table(const CodeTable& table) {
    Status status = check_lengths("codes", table.codes.size(), "values", table.values.size());
    if (status.ok()) status = check_finite(table.values, "values");
    if (status.ok()) status = check_finite(std::span(&table.other, 1), "other");
    for (std::size_t i = 1; status.ok() && i < table.codes.size(); ++i) {
        const std::uint32_t code = read_once(table.codes[i]);
        const std::uint32_t before = read_once(table.codes[i - 1]);
        if (code > before) continue;
        return Status::invalid("codes holds " + std::to_string(code) + " at position " + std::to_string(i) + " after " +
                               std::to_string(before) + ", expected ascending codes without repetition");
    }
    return status;
}

Status check_tables(std::span<const CodeTable> tables, const Generation& g, const std::string& name) {
    if (tables.empty()) return {};
    if (tables.size() != g.code_columns.size()) {
        return Status::invalid(name + " has " + std::to_string(tables.size()) + " tables, the index has " +
                               std::to_string(g.code_columns.size()) + " code columns");
    }
    for (std::size_t c = 0; c < tables.size(); ++c) {
        const Status status = check_table(tables[c]);
        if (!status.ok()) return Status::invalid(name + ": table '" + g.code_columns[c] + "': " + status.message());
    }
    return {};
}

Status check_values(std::span<const float> values, const Generation& g, const std::string& name) {
    if (values.size() == g.format.dim) return check_finite(values, name.c_str());
    return Status::invalid(name + " has " + std::to_string(values.size()) + " values, expected " +
                           std::to_string(g.format.dim));
}

}  // namespace

Status check_generation(const Rows& rows, const Generation& g) {
    if (rows.generation == 0 || rows.generation == g.number) return {};
    return Status::invalid("rows are of generation " + std::to_string(rows.generation) + ", this reads generation " +
                           std::to_string(g.number) +
                           ", where they may have other items: find and read rows on one view (pinned())");
}

Status check_candidates(const Candidates& candidates, const Generation& g) {
    if (candidates.size() > std::numeric_limits<std::uint32_t>::max()) {
        return Status::invalid("a search takes at most 2^32 − 1 candidates, got " + std::to_string(candidates.size()));
    }
    const std::span<const std::int32_t> rows = candidates.rows.values;
    if (!candidates.ids.empty() && !rows.empty()) {
        return Status::invalid("candidates are given as ids or as rows, not as both");
    }
    if (Status status = check_generation(candidates.rows, g); !status.ok()) return status;
    const auto n = static_cast<std::int64_t>(g.n_rows());
    std::int32_t low = kUnknownRow;
    std::int32_t high = kUnknownRow;
    for (const std::int32_t row : rows) {
        low = std::min(low, row);
        high = std::max(high, row);
    }
    if (low == kUnknownRow && high < n) return {};
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::int32_t row = read_once(rows[i]);
        if (row >= kUnknownRow && row < n) continue;
        return Status::invalid("rows holds " + std::to_string(row) + " at position " + std::to_string(i) +
                               ", expected -1 (unknown) to " + std::to_string(n) + " (exclusive)");
    }
    return {};  // another thread changed the rows during the call; searches compare each row with n_rows again
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
    return Status::invalid("out has " + std::to_string(out.scores.size()) + " entries, expected the same number for " +
                           std::to_string(n) + " queries");
}

Ranked slice_list(const Ranked& out, std::size_t list, std::size_t length) {
    const std::size_t first = list * length;
    return {out.scores.subspan(first, length), out.ids.subspan(first, length), out.rows.subspan(first, length),
            out.positions.subspan(first, length)};
}

void pad_list(const Ranked& list, std::size_t n) {
    std::ranges::fill(list.scores.subspan(n), -std::numeric_limits<float>::infinity());
    std::ranges::fill(list.ids.subspan(n), -1);
    std::ranges::fill(list.rows.subspan(n), kUnknownRow);
    std::ranges::fill(list.positions.subspan(n), -1);
}

Status check_mask(std::size_t length, const Generation& g) {
    if (length <= g.n_rows() && length >= g.n_first_rows) return {};
    return Status::invalid("mask has " + std::to_string(length) + " entries, generation " + std::to_string(g.number) +
                           " of the index has " + std::to_string(g.n_rows()) +
                           " rows: make the mask and search on one view (pinned())");
}

Status check_query(const Query& query, const Generation& g, const std::string& name) {
    for (const VersionQuery& version_query : query.by_version) {
        const std::string version_name = name + " of model version " + std::to_string(version_query.model_version);
        if (Status status = check_values(version_query.values, g, version_name); !status.ok()) return status;
        if (Status status = check_tables(version_query.tables, g, version_name); !status.ok()) return status;
    }
    if (!query.by_version.empty()) return {};
    if (Status status = check_values(query.values, g, name); !status.ok()) return status;
    if (Status status = check_tables(query.tables, g, name); !status.ok()) return status;
    std::string versions;
    std::size_t n_versions = 0;
    for (const ModelVersion& version : g.used_versions()) {
        if (version.n_rows == 0) continue;
        versions += (n_versions++ > 0 ? ", " : "") + std::to_string(version.number);
    }
    if (n_versions < 2) return {};
    return Status::invalid("the index holds vectors of model versions " + versions +
                           ": give a query for each, {model version: query}");
}

}  // namespace karec
