#include "search/scoring.hpp"

namespace karec {

PaddedQueries::PaddedQueries(const Query& query, const Generation& g, const RowFormat& format) : format_(format) {
    if (query.by_version.empty()) {
        queries_.push_back(format.pad(query.values));
        tables_.emplace_back(query.tables);
        return;
    }
    for (const VersionQuery& version_query : query.by_version) {
        queries_.push_back(format.pad(version_query.values));
        tables_.emplace_back(version_query.tables);
    }
    query_of_code_.assign(kMaxVersions, kNoQuery);
    for (std::size_t code = 0; code < g.n_codes; ++code) {
        const auto found = std::ranges::find(query.by_version, g.versions[code].number, &VersionQuery::model_version);
        if (found == query.by_version.end()) continue;
        query_of_code_[code] = static_cast<std::size_t>(found - query.by_version.begin());
    }
}

// All rows are scored with every query (they are in cache after the first), and the score of the row's version is
// taken.
void PaddedQueries::dot(const Generation& g, std::int32_t* rows, const std::byte* const* vectors,
                        const std::byte* const* next, std::size_t n, float* out) const noexcept {
    if (is_single()) {
        format_.dot(queries_[0], vectors, next, n, out);
        return;
    }
    std::size_t query_of[kScoreBlock];
    for (std::size_t i = 0; i < n; ++i) {
        query_of[i] = rows[i] < 0 ? kNoQuery : query_of_code_[g.code_of(static_cast<std::size_t>(rows[i]))];
        if (rows[i] >= 0 && query_of[i] == kNoQuery) rows[i] = kUnknownRow;
    }
    float scores[kScoreBlock];
    for (std::size_t q = 0; q < queries_.size(); ++q) {
        format_.dot(queries_[q], vectors, q == 0 ? next : nullptr, n, scores);
        for (std::size_t i = 0; i < n; ++i) {
            if (query_of[i] == q) out[i] = scores[i];
        }
    }
}

void PaddedQueries::add_tables(const Generation& g, const std::int32_t* rows, const std::uint32_t* const* codes,
                               const std::uint32_t* const* next, std::size_t n, float* scores) const noexcept {
    float sums[kTableRows];
    if (is_single()) {
        tables_[0].sum(codes, next, n, sums);
        for (std::size_t i = 0; i < n; ++i) scores[i] += sums[i];
        return;
    }
    for (std::size_t q = 0; q < queries_.size(); ++q) {
        if (tables_[q].empty()) continue;
        tables_[q].sum(codes, next, n, sums);
        for (std::size_t i = 0; i < n; ++i) {
            const bool is_own = rows[i] >= 0 && query_of_code_[g.code_of(static_cast<std::size_t>(rows[i]))] == q;
            if (is_own) scores[i] += sums[i];
        }
    }
}

void apply_version_scales(const Generation& g, const PaddedQueries& queries, const std::int32_t* rows,
                          const std::uint32_t* const* codes, const std::uint32_t* const* next, std::size_t n,
                          float* scores) noexcept {
    if (queries.is_int8()) {
        for (std::size_t i = 0; i < n; ++i) {
            if (rows[i] >= 0) scores[i] *= *g.scales.at(static_cast<std::size_t>(rows[i]));
        }
    }
    if (queries.has_tables()) queries.add_tables(g, rows, codes, next, n, scores);
    if (g.is_calibrated()) {
        for (std::size_t i = 0; i < n; ++i) {
            if (rows[i] >= 0) scores[i] = g.calibrate_score(static_cast<std::size_t>(rows[i]), scores[i]);
        }
    }
}

void adjust_scores(const Generation& g, const PaddedQueries& queries, const std::int32_t* rows,
                   const std::uint32_t* const* codes, const std::uint32_t* const* next, std::size_t n,
                   float* scores) noexcept {
    apply_version_scales(g, queries, rows, codes, next, n, scores);
    if (g.adjustments.empty()) return;
    for (std::size_t i = 0; i < n; ++i) {
        if (rows[i] < 0) continue;
        const Adjustment& adjustment = g.adjustment_of(static_cast<std::size_t>(rows[i]));
        scores[i] = scores[i] * adjustment.scale + adjustment.offset;
    }
}

}  // namespace karec
