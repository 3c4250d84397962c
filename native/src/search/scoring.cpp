#include "search/scoring.hpp"

#include "kernels/kernels.hpp"

namespace karec {

ReadyQuery::ReadyQuery(const Query& query, const Generation& g, const RowFormat& format) : format_(format) {
    if (query.by_version.empty()) {
        queries_.push_back(format.pad(query.values));
        return;
    }
    for (const VersionQuery& each : query.by_version) queries_.push_back(format.pad(each.values));
    for (const ModelVersion& version : g.versions) {
        const auto found = std::ranges::find(query.by_version, version.number, &VersionQuery::model_version);
        const auto at = static_cast<std::size_t>(found - query.by_version.begin());
        of_code_.push_back(found == query.by_version.end() ? kNoQuery : at);
    }
}

// dot_with(query, whether it is the first, scores) scores all n rows with one query.
template <class Dot>
void ReadyQuery::each_version(const Generation& g, std::int32_t* rows, std::size_t n, float* out,
                              Dot&& dot_with) const noexcept {
    if (one_for_all()) {
        dot_with(queries_[0], true, out);
        return;
    }
    // Scores every row with every query (rows are in cache after the first) and keeps the score of the row's version.
    std::size_t query_of[kScoreBlock];
    for (std::size_t i = 0; i < n; ++i) {
        query_of[i] = rows[i] < 0 ? kNoQuery : of_code_[g.code_of(static_cast<std::size_t>(rows[i]))];
        if (rows[i] >= 0 && query_of[i] == kNoQuery) rows[i] = kUnknownRow;
    }
    float scores[kScoreBlock];
    for (std::size_t q = 0; q < queries_.size(); ++q) {
        dot_with(queries_[q], q == 0, scores);
        for (std::size_t i = 0; i < n; ++i) {
            if (query_of[i] == q) out[i] = scores[i];
        }
    }
}

void ReadyQuery::dot(const Generation& g, std::int32_t* rows, const std::byte* const* at, const std::byte* const* next,
                     std::size_t n, float* out) const noexcept {
    each_version(g, rows, n, out, [&](const PaddedQuery& query, bool first, float* scores) {
        format_.dot(query, at, first ? next : nullptr, n, scores);
    });
}

void ReadyQuery::dot_packed(const Generation& g, std::int32_t* rows, const float* block, std::size_t n,
                            float* out) const noexcept {
    each_version(g, rows, n, out, [&](const PaddedQuery& query, bool, float* scores) {
        kernels().dot_packed(block, query.values.size(), query.values.data(), scores);
    });
}

void scale_scores(const Generation& g, const std::int32_t* rows, std::size_t n, bool int8, float* scores) noexcept {
    if (int8) {
        for (std::size_t i = 0; i < n; ++i) {
            if (rows[i] >= 0) scores[i] *= *g.scales.at(static_cast<std::size_t>(rows[i]));
        }
    }
    if (g.is_calibrated()) {
        for (std::size_t i = 0; i < n; ++i) {
            if (rows[i] >= 0) scores[i] = g.on_one_scale(static_cast<std::size_t>(rows[i]), scores[i]);
        }
    }
}

void adjust_scores(const Generation& g, const std::int32_t* rows, std::size_t n, bool int8, float* scores) noexcept {
    scale_scores(g, rows, n, int8, scores);
    if (g.adjustments.empty()) return;
    for (std::size_t i = 0; i < n; ++i) {
        if (rows[i] < 0) continue;
        const Adjustment& adjustment = g.adjustment_of(static_cast<std::size_t>(rows[i]));
        scores[i] = scores[i] * adjustment.scale + adjustment.offset;
    }
}

}  // namespace karec
