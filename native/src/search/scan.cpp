// IndexView::search_all: a scan of all rows, or of the rows of some lists.
//
// All rows are read in tiles of 64. One or two queries read the rows in place, and the next tile is prefetched
// meanwhile. For three or more, a tile is first packed (one lane a row) and every query reads the packed copy. Cost:
// one pass over the rows, O(queries·N·D).
#include <algorithm>
#include <bit>
#include <optional>
#include <string>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "index/generation_store.hpp"
#include "karec/index_view.hpp"
#include "kernels/isa_table.hpp"
#include "search/probe.hpp"
#include "search/rescore.hpp"
#include "search/scoring.hpp"
#include "search/search_checks.hpp"
#include "search/top_k.hpp"

namespace karec {
namespace {

constexpr std::size_t kTile = 64;
constexpr std::size_t kPackFor = 3;  // the number of queries from which packing a tile is faster

// Up to 64 consecutive rows: their addresses, and which of them are left out.
struct Tile {
    void show(const Generation& g, std::size_t first_row, std::span<const std::uint8_t> mask) {
        first = first_row;
        n = std::min(kTile, g.n_rows() - first_row);
        if (n == 0) return;
        left_out = g.closed.word(first / kTile);
        for (std::size_t i = 0; i < n && !mask.empty(); ++i) {
            const bool kept = first + i < mask.size() && mask[first + i] != 0;
            left_out |= std::uint64_t{!kept} << i;
        }
        if (g.rows.contiguous_from(first) >= n) {
            const std::byte* start = g.rows.at(first);
            for (std::size_t i = 0; i < n; ++i) at[i] = start + i * g.format.stride();
        } else {
            for (std::size_t i = 0; i < n; ++i) at[i] = g.rows.at(first + i);
        }
        if (whole() || empty()) return;
        // A writer may be writing a row that holds no work: read another row in its place.
        const std::byte* stand_in = at[std::countr_one(left_out)];
        for (std::size_t i = 0; i < n; ++i) at[i] = left_out >> i & 1 ? stand_in : at[i];
    }

    bool whole() const noexcept { return left_out == 0; }
    bool empty() const noexcept { return ~left_out << (kTile - n) == 0; }

    // rows[i] = the row, kUnknownRow where it is left out.
    void list(std::int32_t* rows) const noexcept {
        for (std::size_t i = 0; i < n; ++i) {
            rows[i] = left_out >> i & 1 ? kUnknownRow : static_cast<std::int32_t>(first + i);
        }
    }

    std::size_t first = 0;
    std::size_t n = 0;
    std::uint64_t left_out = 0;
    const std::byte* at[kTile];
};
static_assert(kTile == 64, "one word of a RowSet");

// The rows of a tile as a packed block of float32 (kernels/scoring_kernels.hpp).
class PackedTile {
  public:
    explicit PackedTile(const RowFormat& format) : format_(format), block_(kTile * format.padded_dim()) {
        std::ranges::fill(ones_, 1.0);
    }

    const float* pack(const Tile& tile) {
        const void* rows[kTile];
        for (std::size_t i = 0; i < kTile; ++i) rows[i] = tile.at[i < tile.n ? i : 0];
        const DiversityKernels& loops = diversity_kernels();
        const auto pack_rows = format_.dtype == DType::float16 ? loops.pack_float16 : loops.pack_float32;
        pack_rows(rows, ones_, 1.0, format_.padded_dim(), block_.data());  // times 1/√1: values are not changed
        return block_.data();
    }

  private:
    RowFormat format_;
    double ones_[kTile];
    ScratchVector<float> block_;
};
static_assert(kTile == kBlockItems);

// adjust_scores for a whole tile, whose scales and adjustments are contiguous within one page.
void adjust_tile(const Generation& g, const Tile& tile, bool int8, float* scores) noexcept {
    if (int8) {
        const float* scales = g.scales.at(tile.first);
        for (std::size_t i = 0; i < tile.n; ++i) scores[i] *= scales[i];
    }
    if (g.is_calibrated()) {
        for (std::size_t i = 0; i < tile.n; ++i) scores[i] = g.on_one_scale(tile.first + i, scores[i]);
    }
    if (g.adjustments.empty()) return;
    const Adjustment* adjustments = g.adjustments.at(tile.first);
    for (std::size_t i = 0; i < tile.n; ++i) {
        scores[i] = scores[i] * adjustments[i].scale + adjustments[i].offset;
    }
}

void scan(const Generation& g, std::span<const Query> queries, std::span<const std::uint8_t> mask,
          std::span<TopK> tops) {
    const bool int8 = g.format.dtype == DType::int8;
    std::optional<PackedTile> packed;
    if (!int8 && queries.size() >= kPackFor) packed.emplace(g.format);
    ScratchVector<ReadyQuery> ready;
    for (const Query& query : queries) ready.emplace_back(query, g, g.format);
    float scores[kTile];
    std::int32_t rows[kTile];
    Tile tiles[2];
    tiles[0].show(g, 0, mask);
    for (std::size_t at = 0; tiles[at].n > 0; at ^= 1) {
        const Tile& tile = tiles[at];
        Tile& next = tiles[at ^ 1];
        next.show(g, tile.first + tile.n, mask);
        if (tile.empty()) continue;
        const float* block = packed ? packed->pack(tile) : nullptr;
        for (std::size_t q = 0; q < queries.size(); ++q) {
            const bool every = ready[q].one_for_all() && tile.whole();
            if (!every) tile.list(rows);
            if (block != nullptr) {
                ready[q].dot_packed(g, rows, block, tile.n, scores);
            } else {
                ready[q].dot(g, rows, tile.at, q == 0 && next.n == tile.n ? next.at : nullptr, tile.n, scores);
            }
            if (tile.whole()) {
                adjust_tile(g, tile, int8, scores);
            } else {
                adjust_scores(g, rows, tile.n, int8, scores);
            }
            tops[q].offer(scores, every ? nullptr : rows, tile.n, static_cast<std::uint32_t>(tile.first));
        }
    }
}

// Offers the scores of `rows`, which all hold works, at positions in that list.
void scan_rows(const Generation& g, const ReadyQuery& ready, std::span<const std::int32_t> rows, TopK& top) {
    const bool int8 = g.format.dtype == DType::int8;
    std::int32_t own[kScoreBlock];
    const std::byte* at[2][kScoreBlock];
    float scores[kScoreBlock];
    const auto show = [&](std::size_t first, const std::byte** to) {
        const std::size_t n = std::min(kScoreBlock, rows.size() - first);
        for (std::size_t i = 0; i < n; ++i) to[i] = g.rows.at(static_cast<std::size_t>(rows[first + i]));
        return n;
    };
    std::size_t n_next = show(0, at[0]);
    std::size_t half = 0;
    for (std::size_t first = 0; n_next > 0; half ^= 1) {
        const std::size_t n = n_next;
        n_next = show(first + n, at[half ^ 1]);
        std::copy_n(&rows[first], n, own);
        ready.dot(g, own, at[half], n_next == n ? at[half ^ 1] : nullptr, n, scores);
        adjust_scores(g, own, n, int8, scores);
        top.offer(scores, ready.one_for_all() ? nullptr : own, n, static_cast<std::uint32_t>(first));
        first += n;
    }
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
        const auto answer = [&](std::size_t q, TopK& top, auto&& row_of) {
            const Ranked list = list_of(out, q, k);
            rescore(g, queries[q], std::min(k, g.n_rows()), row_of, top);
            counts[q].unknown = works_without_query(queries[q], g);
            counts[q].generation = g.number;
            counts[q].found = top.finish([&](std::size_t rank, float score, std::uint32_t position) {
                list.scores[rank] = score;
                list.rows[rank] = row_of(position);
                list.positions[rank] = list.rows[rank];
                list.ids[rank] = *g.ids.at(static_cast<std::size_t>(list.rows[rank]));
            });
            pad_list(list, counts[q].found);
        };
        for (std::size_t q = 0; q < queries.size() && n_probe != kEveryRow; ++q) {
            const ScratchVector<std::int32_t> rows = probed_rows(g, queries[q], mask, n_probe);
            TopK top(std::min(n_to_rescore(g, k), rows.size()), rows.size());
            scan_rows(g, ReadyQuery(queries[q], g, g.format), rows, top);
            answer(q, top, [&](std::uint32_t position) { return rows[position]; });
        }
        if (n_probe != kEveryRow) return {};
        ScratchVector<TopK> tops;
        tops.reserve(queries.size());
        for (std::size_t q = 0; q < queries.size(); ++q) {
            tops.emplace_back(std::min(n_to_rescore(g, k), g.n_rows()), g.n_rows());
        }
        scan(g, queries, mask, tops);
        for (std::size_t q = 0; q < queries.size(); ++q) {
            answer(q, tops[q], [](std::uint32_t position) { return static_cast<std::int32_t>(position); });
        }
        return {};
    });
}

}  // namespace karec
