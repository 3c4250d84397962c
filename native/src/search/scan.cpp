// IndexView::search_all: the best of all rows, or of the rows of some lists.
//
// Algorithm: tiles of 64 rows are scored in place, and the next tile is prefetched. For three queries or more without
// tables over float rows see bounded_scan.cpp. With n_probe, probe.cpp finds the rows, and a mask gives its rows,
// except many rows of a bounded scan; if k is a large part of them, large_k.cpp selects. Cost: one pass over the rows,
// O(queries·N·D).
#include "search/scan.hpp"

#include <algorithm>
#include <bit>
#include <optional>
#include <string>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "index/generation_store.hpp"
#include "search/rescore.hpp"
#include "search/search_checks.hpp"
#include "search/tile.hpp"

namespace karec {
namespace {

// For a bounded scan: a mask of at most n_rows / 8 rows is searched by its rows.
constexpr std::size_t kMinRowsPerMasked = 8;

void exact_scan(const Generation& g, std::span<const Query> queries, std::span<TopK> tops) {
    ScratchVector<PaddedQueries> padded;
    for (const Query& query : queries) padded.emplace_back(query, g, g.format);
    Tile tiles[2];
    tiles[0].read(g, 0, {});
    for (std::size_t half = 0; tiles[half].n > 0; half ^= 1) {
        const Tile& tile = tiles[half];
        Tile& next = tiles[half ^ 1];
        next.read(g, tile.first + tile.n, {});
        if (tile.is_empty()) continue;
        for (std::size_t q = 0; q < queries.size(); ++q) {
            offer_tile(g, tile, padded[q], tops[q], q == 0 && next.n == tile.n && !next.is_empty() ? &next : nullptr);
        }
    }
}

// The output of search_all: a list of k entries and a count for each query.
class ScanOutput {
  public:
    ScanOutput(const Generation& g, std::span<const Query> queries, const Ranked& out, std::span<SearchCount> counts)
        : g_(g), queries_(queries), out_(out), counts_(counts), k_(out.scores.size() / queries.size()) {}

    std::size_t k() const noexcept { return k_; }
    std::size_t n_candidates() const noexcept { return n_to_rescore(g_, k_); }
    Ranked list(std::size_t q) const { return slice_list(out_, q, k_); }

    // Writes the list of query q. row_of(position) is the row that was offered to `top` at `position`.
    template <class RowOf>
    void write(std::size_t q, TopK& top, RowOf&& row_of) {
        const Ranked best = list(q);
        rescore(g_, queries_[q], std::min(k_, g_.n_rows()), row_of, top);
        finish(q, top.finish([&](std::size_t rank, float score, std::uint32_t position) {
            best.scores[rank] = score;
            best.rows[rank] = row_of(position);
            best.positions[rank] = best.rows[rank];
            best.ids[rank] = *g_.ids.at(static_cast<std::size_t>(best.rows[rank]));
        }));
    }

    // Counts and pads a list of which n entries are written.
    void finish(std::size_t q, std::size_t n) {
        counts_[q].found = n;
        counts_[q].unknown = count_items_without_query(queries_[q]);
        counts_[q].generation = g_.number;
        pad_list(list(q), n);
    }

  private:
    // Items of the model versions that `query` has no values for.
    std::size_t count_items_without_query(const Query& query) const noexcept {
        if (query.by_version.empty()) return 0;
        std::size_t n_items = 0;
        for (const ModelVersion& version : g_.used_versions()) {
            const auto found = std::ranges::find(query.by_version, version.number, &VersionQuery::model_version);
            if (found == query.by_version.end()) n_items += version.n_rows;
        }
        return n_items;
    }

    const Generation& g_;
    std::span<const Query> queries_;
    const Ranked& out_;
    std::span<SearchCount> counts_;
    std::size_t k_;
};

// Writes the best of `rows`, ascending open rows, for query q.
void scan_rows(const Generation& g, const Query& query, std::size_t q, const ScratchVector<std::int32_t>& rows,
               ScanOutput& output) {
    const PaddedQueries padded(query, g, g.format);
    if (!g.has_exact_rows && rows.size() / kMaxRowsPerK <= output.k()) {
        output.finish(q, select_large_k(g, padded, rows, output.list(q)));
        return;
    }
    TopK top(std::min(output.n_candidates(), rows.size()), rows.size());
    score_rows(g, padded, rows, [&](std::size_t first, std::size_t n, const std::int32_t* scored, const float* scores) {
        const std::int32_t* rows_or_null = padded.is_single() ? nullptr : scored;
        top.offer(scores, rows_or_null, n, static_cast<std::uint32_t>(first));
    });
    output.write(q, top, [&](std::uint32_t position) { return rows[position]; });
}

// Returns the open rows in `mask`, ascending; nothing if they are more than max_rows.
std::optional<ScratchVector<std::int32_t>> find_masked_rows(const Generation& g, std::span<const std::uint8_t> mask,
                                                            std::size_t max_rows) {
    ScratchVector<std::int32_t> rows(max_rows + kTile);
    std::size_t n = 0;
    for (std::size_t first = 0; first < std::min(g.n_rows(), mask.size()); first += kTile) {
        std::uint64_t word = mask_word(mask, first) & ~g.closed.word(first / kTile);
        if (first + kTile > g.n_rows()) word &= ~std::uint64_t{0} >> (first + kTile - g.n_rows());
        for (; word != 0; word &= word - 1) {
            rows[n++] = static_cast<std::int32_t>(first) + std::countr_zero(word);
        }
        if (n > max_rows) return std::nullopt;
    }
    rows.resize(n);
    return rows;
}

bool has_tables(const Query& query) noexcept {
    return !query.tables.empty() ||
           std::ranges::any_of(query.by_version, [](const VersionQuery& version) { return !version.tables.empty(); });
}

bool is_bounded(const Generation& g, std::span<const Query> queries) noexcept {
    return g.format.dtype != DType::int8 && queries.size() >= kMinBoundedQueries &&
           std::ranges::none_of(queries, has_tables);
}

void scan_all_rows(const Generation& g, std::span<const Query> queries, std::span<const std::uint8_t> mask,
                   ScanOutput& output) {
    const std::size_t k = std::min(output.n_candidates(), g.n_rows());
    ScratchVector<TopK> tops;
    tops.reserve(queries.size());
    for (std::size_t q = 0; q < queries.size(); ++q) tops.emplace_back(k, g.n_rows());
    if (is_bounded(g, queries)) {
        bounded_scan(g, queries, mask, k, tops);
    } else {
        exact_scan(g, queries, tops);
    }
    for (std::size_t q = 0; q < queries.size(); ++q) {
        output.write(q, tops[q], [](std::uint32_t position) { return static_cast<std::int32_t>(position); });
    }
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
        ScanOutput output(g, queries, out, counts);
        if (n_probe != kEveryRow) {
            for (std::size_t q = 0; q < queries.size(); ++q) {
                scan_rows(g, queries[q], q, find_probed_rows(g, queries[q], mask, n_probe), output);
            }
            return {};
        }
        std::optional<ScratchVector<std::int32_t>> rows;
        if (!mask.empty()) {
            rows = find_masked_rows(g, mask, g.n_rows() / (is_bounded(g, queries) ? kMinRowsPerMasked : 1));
        }
        if (!rows.has_value()) {
            scan_all_rows(g, queries, mask, output);
            return {};
        }
        for (std::size_t q = 0; q < queries.size(); ++q) scan_rows(g, queries[q], q, *rows, output);
        return {};
    });
}

}  // namespace karec
