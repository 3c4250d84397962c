// Scan of all rows for many queries at once: a tile of rows stays in the first-level cache while every query meets it.
//
// float16 rows are widened once for all queries of a tile. Cost: one pass over the rows, O(queries·N·D).
#include <algorithm>
#include <string>

#include "boundary.hpp"
#include "dispatch.hpp"
#include "index_checks.hpp"
#include "index_store.hpp"
#include "karec/item_index.hpp"
#include "rescore.hpp"
#include "scoring.hpp"
#include "top_k.hpp"

namespace karec {
namespace {

constexpr std::size_t kTile = 64;
constexpr std::size_t kWidenFor = 3;  // queries, from which on widening a tile pays

// One tile of rows: which of them are to be scored, and where each lies.
class Tile {
  public:
    Tile(const Generation& g, bool widen, const std::byte* no_row)
        : g_(g), no_row_(no_row), widened_(widen ? kTile * g.format.padded_dim() : 0) {}

    // Whether any of rows first … first + n − 1 is to be scored.
    bool show(std::size_t first, std::size_t n, std::span<const std::uint8_t> mask) {
        whole_ = true;
        bool any = false;
        for (std::size_t i = 0; i < n; ++i) {
            const std::size_t row = first + i;
            const bool in = (mask.empty() || mask[row] != 0) && !g_.closed.has(row);
            rows[i] = in ? static_cast<std::int32_t>(row) : kUnknownRow;
            at[i] = in ? g_.rows.at(row) : no_row_;
            whole_ = whole_ && in;
            any = any || in;
        }
        if (!any || widened_.empty()) return any;
        const std::size_t dim = g_.format.padded_dim();
        for (std::size_t i = 0; i < n; ++i) {
            if (rows[i] < 0) continue;
            float* to = widened_.data() + i * dim;
            inner_loops().widen(reinterpret_cast<const std::uint16_t*>(at[i]), dim, to);
            at[i] = reinterpret_cast<const std::byte*>(to);
        }
        return any;
    }

    bool whole() const noexcept { return whole_; }

    std::int32_t rows[kTile];
    const std::byte* at[kTile];

  private:
    const Generation& g_;
    const std::byte* no_row_;
    ScratchVector<float> widened_;
    bool whole_ = false;
};

void scan(const Generation& g, std::span<const Query> queries, std::span<const std::uint8_t> mask,
          std::span<TopK> tops) {
    const bool widen = g.format.dtype == DType::float16 && queries.size() >= kWidenFor;
    const RowFormat format{g.format.dim, widen ? DType::float32 : g.format.dtype};
    ScratchVector<ReadyQuery> ready;
    for (const Query& query : queries) ready.emplace_back(query, g, format);
    Tile tile(g, widen, ready[0].no_row());
    float scores[kTile];
    std::int32_t rows[kTile];
    for (std::size_t first = 0; first < g.n_rows(); first += kTile) {
        const std::size_t n = std::min(kTile, g.n_rows() - first);
        if (!tile.show(first, n, mask)) continue;
        for (std::size_t q = 0; q < queries.size(); ++q) {
            std::copy_n(tile.rows, n, rows);
            ready[q].dot(g, rows, tile.at, nullptr, n, scores);
            adjust_scores(g, rows, n, format.dtype == DType::int8, scores);
            if (tile.whole() && queries[q].by_version.empty()) {
                tops[q].offer_all(scores, n, static_cast<std::uint32_t>(first));
                continue;
            }
            for (std::size_t i = 0; i < n; ++i) {
                if (rows[i] >= 0) tops[q].offer(scores[i], static_cast<std::uint32_t>(first + i));
            }
        }
    }
}

}  // namespace

Status ItemIndex::search_all(std::span<const Query> queries, std::span<const std::uint8_t> mask, const Ranked& out,
                             std::span<SearchCount> counts) const noexcept {
    return at_boundary([&]() -> Status {
        const Living::Pin g(store_->living);
        Status status = check_lengths("counts", counts.size(), "queries", queries.size());
        if (!status.ok()) return status;
        for (std::size_t q = 0; q < queries.size(); ++q) {
            status = check_query(queries[q], *g, queries.size() == 1 ? "query" : "query " + std::to_string(q));
            if (!status.ok()) return status;
        }
        if (status = check_lists(out, queries.size()); !status.ok()) return status;
        if (!mask.empty()) {
            status = check_lengths("mask", mask.size(), "index", g->n_rows());
            if (!status.ok()) return status;
        }
        if (queries.empty()) return {};
        const std::size_t k = out.scores.size() / queries.size();
        ScratchVector<TopK> tops;
        tops.reserve(queries.size());
        for (std::size_t q = 0; q < queries.size(); ++q) {
            tops.emplace_back(std::min(n_to_rescore(*g, k), g->n_rows()), g->n_rows());
        }
        scan(*g, queries, mask, tops);
        for (std::size_t q = 0; q < queries.size(); ++q) {
            const Ranked list = list_of(out, q, k);
            const auto row_of = [](std::uint32_t position) { return static_cast<std::int32_t>(position); };
            rescore(*g, queries[q], std::min(k, g->n_rows()), row_of, tops[q]);
            counts[q].generation = g->number;
            counts[q].found = tops[q].finish([&](std::size_t rank, float score, std::uint32_t position) {
                list.scores[rank] = score;
                list.ids[rank] = *g->ids.at(position);
                list.rows[rank] = static_cast<std::int32_t>(position);
                list.positions[rank] = position;
            });
            pad_list(list, counts[q].found);
        }
        return {};
    });
}

}  // namespace karec
