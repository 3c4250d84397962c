// IndexView::search_all: a scan of all rows, or of the rows of some lists.
//
// All rows are read in tiles of 64, in place, and the next tile is prefetched meanwhile. For three queries or more over
// float rows see search/bounded_scan.hpp. Cost: one pass over the rows, O(queries·N·D).
#include <algorithm>
#include <string>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "index/generation_store.hpp"
#include "karec/index_view.hpp"
#include "search/bounded_scan.hpp"
#include "search/large_k.hpp"
#include "search/probe.hpp"
#include "search/rescore.hpp"
#include "search/scoring.hpp"
#include "search/search_checks.hpp"
#include "search/tile.hpp"
#include "search/tile_scores.hpp"
#include "search/top_k.hpp"

namespace karec {
namespace {

void scan(const Generation& g, std::span<const Query> queries, std::span<const std::uint8_t> mask,
          std::span<TopK> tops) {
    ScratchVector<ReadyQuery> ready;
    for (const Query& query : queries) ready.emplace_back(query, g, g.format);
    Tile tiles[2];
    tiles[0].show(g, 0, mask);
    for (std::size_t at = 0; tiles[at].n > 0; at ^= 1) {
        const Tile& tile = tiles[at];
        Tile& next = tiles[at ^ 1];
        next.show(g, tile.first + tile.n, mask);
        if (tile.empty()) continue;
        for (std::size_t q = 0; q < queries.size(); ++q) {
            const std::byte* const* const ahead = q == 0 && next.n == tile.n ? next.at : nullptr;
            offer_tile(g, tile, ready[q], tops[q], [&](std::int32_t* rows, float* scores) {
                ready[q].dot(g, rows, tile.at, ahead, tile.n, scores);
            });
        }
    }
}

// Offers the scores of `rows`, which all hold works, at positions in that list.
void scan_rows(const Generation& g, const ReadyQuery& ready, std::span<const std::int32_t> rows, TopK& top) {
    score_rows(g, ready, rows, [&](std::size_t first, std::size_t n, const std::int32_t* scored, const float* scores) {
        top.offer(scores, ready.one_for_all() ? nullptr : scored, n, static_cast<std::uint32_t>(first));
    });
}

// Works of the model versions that `query` has no values for.
std::size_t works_without_query(const Query& query, const Generation& g) noexcept {
    if (query.by_version.empty()) return 0;
    std::size_t works = 0;
    for (const ModelVersion& version : g.versions) {
        const auto found = std::ranges::find(query.by_version, version.number, &VersionQuery::model_version);
        if (found == query.by_version.end()) works += version.n_rows;
    }
    return works;
}

}  // namespace

Status IndexView::search_all(std::span<const Query> queries, std::span<const std::uint8_t> mask, const Ranked& out,
                             std::span<SearchCount> counts, std::size_t n_probe) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        Status status = check_lengths("counts", counts.size(), "queries", queries.size());
        if (!status.ok()) return status;
        for (std::size_t q = 0; q < queries.size(); ++q) {
            status = check_query(queries[q], g, queries.size() == 1 ? "query" : "query " + std::to_string(q));
            if (!status.ok()) return status;
        }
        if (status = check_lists(out, queries.size()); !status.ok()) return status;
        if (!mask.empty()) {
            if (status = check_mask(mask.size(), g); !status.ok()) return status;
        }
        if (n_probe != kEveryRow && g.lists == nullptr) {
            return Status::invalid("the index has no lists to probe: build_lists() makes them");
        }
        if (queries.empty()) return {};
        const std::size_t k = out.scores.size() / queries.size();
        const auto counted = [&](std::size_t q) -> SearchCount& {
            counts[q].unknown = works_without_query(queries[q], g);
            counts[q].generation = g.number;
            return counts[q];
        };
        const auto answer = [&](std::size_t q, TopK& top, auto&& row_of) {
            const Ranked list = list_of(out, q, k);
            rescore(g, queries[q], std::min(k, g.n_rows()), row_of, top);
            counted(q).found = top.finish([&](std::size_t rank, float score, std::uint32_t position) {
                list.scores[rank] = score;
                list.rows[rank] = row_of(position);
                list.positions[rank] = list.rows[rank];
                list.ids[rank] = *g.ids.at(static_cast<std::size_t>(list.rows[rank]));
            });
            pad_list(list, counts[q].found);
        };
        for (std::size_t q = 0; q < queries.size() && n_probe != kEveryRow; ++q) {
            const ScratchVector<std::int32_t> rows = probed_rows(g, queries[q], mask, n_probe);
            const ReadyQuery ready(queries[q], g, g.format);
            if (!g.keeps_exact && rows.size() / kLargePart <= k) {
                const Ranked list = list_of(out, q, k);
                counted(q).found = best_of_rows(g, ready, rows, list);
                pad_list(list, counts[q].found);
                continue;
            }
            TopK top(std::min(n_to_rescore(g, k), rows.size()), rows.size());
            scan_rows(g, ready, rows, top);
            answer(q, top, [&](std::uint32_t position) { return rows[position]; });
        }
        if (n_probe != kEveryRow) return {};
        const std::size_t n_kept = std::min(n_to_rescore(g, k), g.n_rows());
        ScratchVector<TopK> tops;
        tops.reserve(queries.size());
        for (std::size_t q = 0; q < queries.size(); ++q) tops.emplace_back(n_kept, g.n_rows());
        if (g.format.dtype != DType::int8 && queries.size() >= kBoundedFor) {
            bounded_scan(g, queries, mask, n_kept, tops);
        } else {
            scan(g, queries, mask, tops);
        }
        for (std::size_t q = 0; q < queries.size(); ++q) {
            answer(q, tops[q], [](std::uint32_t position) { return static_cast<std::int32_t>(position); });
        }
        return {};
    });
}

}  // namespace karec
