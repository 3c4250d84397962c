// IndexView::scores, search and search_batch: candidates are scored in blocks into a top-k. O(N·D + k) expected.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/indptr.hpp"
#include "base/read_once.hpp"
#include "karec/index_view.hpp"
#include "search/rescore.hpp"
#include "search/scoring.hpp"
#include "search/search_checks.hpp"
#include "search/top_k.hpp"

namespace karec {
namespace {

// `candidates` and `query` are checked; the arrays of `out` have one length.
SearchCount search_one(const Generation& g, const Query& query, const Candidates& candidates, const Ranked& out) {
    const std::size_t n = candidates.size();
    TopK top(std::min(n_to_rescore(g, out.scores.size()), n), n);
    const ReadyQuery ready(query, g, g.format);
    SearchCount counts = score_candidates(
        g, ready, candidates, [&](std::size_t first, std::size_t some, const std::int32_t* rows, const float* scores) {
            top.offer(scores, rows, some, static_cast<std::uint32_t>(first));
        });
    // Read again, and bounded: if a caller writes to the input meanwhile, the result is void but memory is safe.
    const auto bounded = [&](std::int32_t row) {
        return row >= 0 && static_cast<std::size_t>(row) < g.n_rows() ? row : 0;
    };
    const auto row_of = [&](std::uint32_t position) {
        return bounded(candidates.ids.empty() ? read_once(candidates.rows.values[position])
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
    } else {
        for (std::size_t rank = 0; rank < counts.found; ++rank) {
            const std::int32_t row = bounded(read_once(out.rows[rank]));  // the caller's memory again
            out.ids[rank] = *g.ids.at(static_cast<std::size_t>(row));
        }
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
        const ReadyQuery ready(query, g, g.format);
        SearchCount counts = score_candidates(
            g, ready, candidates, [&](std::size_t first, std::size_t n, const std::int32_t* rows, const float* some) {
                for (std::size_t i = 0; i < n; ++i) {
                    const bool scored = rows[i] >= 0 && !std::isnan(some[i]);
                    out[first + i] = scored ? some[i] : -std::numeric_limits<float>::infinity();
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
        return search_one(g, query, candidates, out);
    });
}

}  // namespace karec
