#include "search/search_checks.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/checks.hpp"
#include "base/read_once.hpp"

namespace karec {
namespace {

std::string count(std::size_t n) {
    return std::to_string(n);
}

}  // namespace

Status check_generation(const Rows& rows, const Generation& g) {
    if (rows.generation == 0 || rows.generation == g.number) return {};
    return Status::invalid("rows are of generation " + std::to_string(rows.generation) + ", this reads generation " +
                           std::to_string(g.number) +
                           ", where they may hold other works: find and read rows on one view (pinned())");
}

Status check_candidates(const Candidates& candidates, const Generation& g) {
    if (candidates.size() > std::numeric_limits<std::uint32_t>::max()) {
        return Status::invalid("a search takes at most 2^32 − 1 candidates, got " + count(candidates.size()));
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
        return Status::invalid("rows holds " + std::to_string(row) + " at position " + count(i) +
                               ", expected -1 (unknown) to " + std::to_string(n) + " (exclusive)");
    }
    return {};  // the caller has written to the rows since; searches compare each with n_rows when they use it
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

Status check_mask(std::size_t length, const Generation& g) {
    if (length <= g.n_rows() && length >= g.n_first_rows) return {};
    return Status::invalid("mask has " + count(length) + " entries, generation " + std::to_string(g.number) +
                           " of the index has " + count(g.n_rows()) +
                           " rows: make the mask and search on one view (pinned())");
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
                           ": give a query for each, {model version: query}");
}

}  // namespace karec
