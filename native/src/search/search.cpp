// IndexView::scores and search: candidates are scored in blocks and offered to a TopK. Cost: O(N·D + k) expected.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/read_once.hpp"
#include "karec/index_view.hpp"
#include "search/rescore.hpp"
#include "search/scoring.hpp"
#include "search/search_checks.hpp"
#include "search/top_k.hpp"

namespace karec {
namespace {

// `query` and `candidates` are checked; the arrays of `out` have one length.
SearchCount search_candidates(const Generation& g, const Query& query, const Candidates& candidates,
                              const Ranked& out) {
    const std::size_t n = candidates.size();
    TopK top(std::min(n_to_rescore(g, out.scores.size()), n), n);
    const PaddedQueries queries(query, g, g.format);
    SearchCount counts =
        score_candidates(g, queries, candidates,
                         [&](std::size_t first, std::size_t n_block, const std::int32_t* rows, const float* scores) {
                             top.offer(scores, rows, n_block, static_cast<std::uint32_t>(first));
                         });
    // The caller's arrays are read again: if another thread wrote to them, results are undefined but rows stay in
    // range.
    const auto in_range = [&](std::int32_t row) {
        return row >= 0 && static_cast<std::size_t>(row) < g.n_rows() ? row : 0;
    };
    const auto row_of = [&](std::uint32_t position) {
        return in_range(candidates.ids.empty() ? read_once(candidates.rows.values[position])
                                               : g.id_map.find(candidates.ids[position]));
    };
    rescore(g, query, std::min(out.scores.size(), n), row_of, top);
    counts.found = top.finish([&](std::size_t rank, float score, std::uint32_t position) {
        out.scores[rank] = score;
        out.positions[rank] = position;
        if (candidates.ids.empty()) {
            out.rows[rank] = row_of(position);
            __builtin_prefetch(g.ids.at(static_cast<std::size_t>(out.rows[rank])));
        } else {
            out.ids[rank] = candidates.ids[position];
        }
    });
    if (!candidates.ids.empty()) {
        g.id_map.find(out.ids.first(counts.found), out.rows.data());
        return counts;
    }
    for (std::size_t rank = 0; rank < counts.found; ++rank) {
        const std::int32_t row = in_range(read_once(out.rows[rank]));
        out.ids[rank] = *g.ids.at(static_cast<std::size_t>(row));
    }
    return counts;
}

}  // namespace

Result<SearchCount> IndexView::scores(const Query& query, const Candidates& candidates,
                                      std::span<float> out) const noexcept {
    return at_boundary([&]() -> Result<SearchCount> {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        if (Status status = check_query(query, g, "query"); !status.ok()) return status;
        if (Status status = check_candidates(candidates, g); !status.ok()) return status;
        Status status = check_lengths("candidates", candidates.size(), "out", out.size());
        if (!status.ok()) return status;
        const PaddedQueries queries(query, g, g.format);
        SearchCount counts =
            score_candidates(g, queries, candidates,
                             [&](std::size_t first, std::size_t n, const std::int32_t* rows, const float* scores) {
                                 for (std::size_t i = 0; i < n; ++i) {
                                     const bool is_scored = rows[i] >= 0 && !std::isnan(scores[i]);
                                     out[first + i] = is_scored ? scores[i] : -std::numeric_limits<float>::infinity();
                                 }
                             });
        counts.found = candidates.size() - counts.unknown - counts.blocked;
        return counts;
    });
}

Result<SearchCount> IndexView::search(const Query& query, const Candidates& candidates,
                                      const Ranked& out) const noexcept {
    return at_boundary([&]() -> Result<SearchCount> {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        if (Status status = check_query(query, g, "query"); !status.ok()) return status;
        if (Status status = check_ranked(out); !status.ok()) return status;
        if (Status status = check_candidates(candidates, g); !status.ok()) return status;
        return search_candidates(g, query, candidates, out);
    });
}

}  // namespace karec
