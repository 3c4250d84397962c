// Tiles of 64 rows: packed, multiplied with all queries and compared with each query's cut by one kernel. What passes
// joins the query's contenders, of which those that the bounds leave at the end are scored in place. A query that many
// rows of a tile pass has its tiles scored whole (search/contenders.hpp, search/tile_scores.hpp). Cost: one pass over
// the rows, O(queries·N·D) by the kernel, O(queries·k·D) exact; at most some four times the kernel's where all scores
// are equal.
#include "search/bounded_scan.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/kernels.hpp"
#include "search/contenders.hpp"
#include "search/score_bound.hpp"
#include "search/scoring.hpp"
#include "search/tile.hpp"
#include "search/tile_scores.hpp"

namespace karec {
namespace {

// The kernels' state of a thread, for as long as it scans.
class KernelsInUse {
  public:
    explicit KernelsInUse(const BoundKernels& kernels) : kernels_(kernels) {
        if (kernels_.begin != nullptr) kernels_.begin();
    }
    ~KernelsInUse() {
        if (kernels_.end != nullptr) kernels_.end();
    }
    KernelsInUse(const KernelsInUse&) = delete;
    KernelsInUse& operator=(const KernelsInUse&) = delete;

  private:
    const BoundKernels& kernels_;
};

// The queries as columns of panels: one a query, or one for each model version that a query has values for.
class Columns {
  public:
    Columns(const Generation& g, std::span<const Query> queries, const BoundKernels& kernels) : kernels_(kernels) {
        steps_ = (g.format.padded_dim() + kernels.dim_step - 1) / kernels.dim_step;
        panel_bytes_ = kColumns * steps_ * kernels.dim_step * kernels.element_bytes;
        for (std::size_t q = 0; q < queries.size(); ++q) {
            if (queries[q].by_version.empty()) add(g, q, queries[q].values);
            for (const VersionQuery& each : queries[q].by_version) add(g, q, each.values);
            const std::size_t first = size() - std::max<std::size_t>(queries[q].by_version.size(), 1);
            const float largest = *std::max_element(&errors_[first], errors_.data() + size());
            std::fill(&errors_[first], errors_.data() + size(), largest);
            error_of_.push_back(largest);
        }
        const std::size_t panels = n_panels();
        cuts_.assign(panels * kColumns, std::numeric_limits<float>::infinity());
        leasts_.assign(size(), -std::numeric_limits<float>::infinity());
        masks_.resize(panels * kTile);
        bounded_.assign(panels, 0u);
        values_.resize(panels * kTile * kColumns);
        const std::size_t codes = std::max<std::size_t>(g.versions.size(), 1);
        of_code_.assign(codes * panels, 0u);
        std::size_t first = 0;
        for (const Query& query : queries) {
            one_for_all_ = one_for_all_ && query.by_version.empty();
            for (std::size_t code = 0; code < codes; ++code) {
                std::size_t column = first;
                if (!query.by_version.empty()) {
                    const auto found =
                        std::ranges::find(query.by_version, g.versions[code].number, &VersionQuery::model_version);
                    if (found == query.by_version.end()) continue;
                    column += static_cast<std::size_t>(found - query.by_version.begin());
                }
                of_code_[code * panels + column / kColumns] |= std::uint32_t{1} << column % kColumns;
            }
            first += std::max<std::size_t>(query.by_version.size(), 1);
        }
    }

    std::size_t n_panels() const noexcept { return (query_of_.size() + kColumns - 1) / kColumns; }
    std::size_t size() const noexcept { return query_of_.size(); }
    std::size_t steps() const noexcept { return steps_; }  // of a block's or panel's dimensions
    double largest_norm() const noexcept { return largest_norm_; }

    float error_of(std::size_t query) const noexcept { return error_of_[query]; }

    // No later row is among a query's best whose score is not above `least`.
    void raise(std::size_t query, float least) noexcept {
        // Without an error, an equal score is out as well.
        const float infinity = std::numeric_limits<float>::infinity();
        if (error_of_[query] == 0.0f && least > -infinity) least = std::nextafter(least, infinity);
        for (std::size_t c = 0; c < size(); ++c) leasts_[c] = query_of_[c] == query ? least : leasts_[c];
    }

    // Whether for_queries() has it.
    void bound(std::size_t query, bool bounded) noexcept {
        for (std::size_t c = 0; c < size(); ++c) {
            const std::uint32_t bit = std::uint32_t{query_of_[c] == query} << c % kColumns;
            bounded_[c / kColumns] = (bounded_[c / kColumns] & ~bit) | (bounded ? bit : 0u);
        }
    }

    // The rows of a packed tile that some query cannot rule out, a bit each. `in` lacks what is of a panel.
    std::uint64_t reach(BoundInput in, bool float16, const TileMargin& margin, float* next_square) {
        for (std::size_t c = 0; c < size(); ++c) cuts_[c] = below(leasts_[c], margin.of(errors_[c]));
        const auto kernel = float16 ? kernels_.compare_float16 : kernels_.compare_float32;
        std::uint64_t any = 0;
        for (std::size_t p = 0; p < n_panels(); ++p) {
            in.panel = &panels_[p * panel_bytes_];
            in.n = std::min(kColumns, size() - p * kColumns);
            in.cuts = &cuts_[p * kColumns];
            any |= kernel(in, &values_[p * kTile * kColumns], &masks_[p * kTile], next_square);
            in.next = nullptr;
        }
        return any;
    }

    // Calls take(query, approximate score) for each query that did not rule out row i of the last tile, of the model
    // version `code`.
    template <class Take>
    void for_queries(std::size_t i, std::size_t code, Take&& take) const {
        for (std::size_t p = 0; p < n_panels(); ++p) {
            std::uint32_t mask = masks_[p * kTile + i] & of_code_[code * n_panels() + p] & bounded_[p];
            for (; mask != 0; mask &= mask - 1) {
                const auto at = static_cast<std::size_t>(std::countr_zero(mask));
                take(query_of_[p * kColumns + at], values_[(p * kTile + i) * kColumns + at]);
            }
        }
    }

    bool one_for_all() const noexcept { return one_for_all_; }

  private:
    void add(const Generation& g, std::size_t query, std::span<const float> values) {
        const PaddedQuery padded = g.format.pad(values);
        double square = 0.0;
        for (const float x : padded.values) square += static_cast<double>(x) * x;
        largest_norm_ = std::max(largest_norm_, std::sqrt(square));
        errors_.push_back(bound_error(padded.values, std::sqrt(square), kernels_));
        const std::size_t at = query_of_.size();
        if (at % kColumns == 0) panels_.resize(panels_.size() + panel_bytes_);
        kernels_.write_column(padded.values.data(), padded.values.size(), at % kColumns,
                              &panels_[at / kColumns * panel_bytes_]);
        query_of_.push_back(query);
    }

    const BoundKernels& kernels_;
    std::size_t steps_ = 0;
    std::size_t panel_bytes_ = 0;
    ScratchVector<std::byte> panels_;
    ScratchVector<std::size_t> query_of_;  // by column
    ScratchVector<float> error_of_;        // by query, the largest of its columns
    ScratchVector<float> errors_;          // the same by column
    ScratchVector<float> leasts_;
    ScratchVector<float> cuts_;
    ScratchVector<float> values_;           // of each panel, its 64 rows by kColumns
    ScratchVector<std::uint32_t> masks_;    // of each panel, its 64 rows
    ScratchVector<std::uint32_t> bounded_;  // of each panel, the columns that are bounded
    ScratchVector<std::uint32_t> of_code_;  // of each model version, the columns of each panel that are meant for it
    double largest_norm_ = 0.0;
    bool one_for_all_ = true;
};

// A scan under way: each query's tiles are scored whole or bounded.
class BoundedScan {
  public:
    BoundedScan(const Generation& g, std::span<const Query> queries, std::size_t k, std::span<TopK> tops)
        : g_(g),
          tops_(tops),
          columns_(g, queries, kernels_),
          margins_(g.n_rows() / kTile + 1),
          packed_(g),
          n_whole_(queries.size()) {
        for (std::size_t q = 0; q < queries.size(); ++q) {
            ready_.emplace_back(queries[q], g, g.format);
            contenders_.emplace_back(k, g.n_rows(), columns_.error_of(q), margins_);
        }
    }

    // A tile of 64 addresses that can be read, of which some row is not left out.
    void take(const Tile& tile, const Tile& next) {
        if (n_whole_ > 0) packed_.show(tile);
        for (std::size_t q = 0; q < tops_.size() && n_whole_ > 0; ++q) {
            if (tile.first < contenders_[q].whole_until()) packed_.offer(tile, ready_[q], tops_[q]);
        }
        if (n_whole_ < tops_.size()) bound(tile, next);
    }

    // Behind the tile that ends at row `end`.
    void turn(std::size_t end) {
        for (std::size_t q = 0; q < tops_.size(); ++q) {
            Contenders& its = contenders_[q];
            if (n_whole_ > 0 && its.whole_until() == end) {
                its.bound_again(tops_[q]);
                columns_.bound(q, true);
                --n_whole_;
            } else if (its.full()) {
                its.thin(g_, ready_[q], tops_[q], end);
                if (its.whole_until() > end) {
                    columns_.bound(q, false);
                    ++n_whole_;
                }
            } else {
                continue;
            }
            columns_.raise(q, its.least());
        }
    }

    void finish() {
        for (std::size_t q = 0; q < tops_.size(); ++q) contenders_[q].finish(g_, ready_[q], tops_[q]);
    }

  private:
    ScratchVector<std::byte> block() const {
        return ScratchVector<std::byte>(kTile * columns_.steps() * kernels_.dim_step * kernels_.element_bytes);
    }

    void bound(const Tile& tile, const Tile& next) {
        const bool float16 = g_.format.dtype == DType::float16;
        const std::size_t dim = g_.format.padded_dim();
        if (in_block_ != tile.first) {
            square_ = (float16 ? kernels_.pack_float16 : kernels_.pack_float32)(tile.at, dim, blocks_[0].data());
        }
        bound_.show(g_, tile, square_, columns_.largest_norm());
        margins_[tile.first / kTile] = bound_.margin();
        const bool ahead = next.n == kTile && !next.empty();
        const BoundInput in = {.block = blocks_[0].data(),
                               .panel = nullptr,
                               .n = 0,
                               .dim = dim,
                               .scales = bound_.scales(),
                               .offsets = bound_.offsets(),
                               .cuts = nullptr,
                               .next = ahead ? next.at : nullptr,
                               .next_block = blocks_[1].data(),
                               .row_bytes = g_.format.stride()};
        std::uint64_t rows = ~tile.left_out & ~std::uint64_t{0} >> (kTile - tile.n);
        rows &= columns_.reach(in, float16, bound_.margin(), &square_);
        if (ahead && kernels_.can_pack_next) {
            std::swap(blocks_[0], blocks_[1]);
            in_block_ = next.first;
        }
        for (; rows != 0; rows &= rows - 1) {
            const auto i = static_cast<std::size_t>(std::countr_zero(rows));
            const auto row = static_cast<std::int32_t>(tile.first + i);
            const std::size_t code = columns_.one_for_all() ? 0 : g_.code_of(tile.first + i);
            columns_.for_queries(i, code, [&](std::size_t q, float score) { contenders_[q].add(row, score); });
        }
    }

    const BoundKernels& kernels_ = kernels().bounds;
    const KernelsInUse in_use_{kernels_};
    const Generation& g_;
    std::span<TopK> tops_;
    Columns columns_;
    ScratchVector<TileMargin> margins_;
    ScratchVector<std::byte> blocks_[2] = {block(), block()};         // of this tile, and of the next one
    std::size_t in_block_ = std::numeric_limits<std::size_t>::max();  // the first row of the tile in blocks_[0]
    float square_ = 0.0f;                                             // what packing it returned
    TileBound bound_;
    PackedTile packed_;
    ScratchVector<ReadyQuery> ready_;
    ScratchVector<Contenders> contenders_;
    std::size_t n_whole_;  // of the queries, those whose next tile is scored whole
};

}  // namespace

void bounded_scan(const Generation& g, std::span<const Query> queries, std::span<const std::uint8_t> mask,
                  std::size_t k, std::span<TopK> tops) {
    if (k == 0) return;
    BoundedScan scan(g, queries, k, tops);
    Tile tiles[2];
    tiles[0].show(g, 0, mask);
    for (std::size_t at = 0; tiles[at].n > 0; at ^= 1) {
        Tile& tile = tiles[at];
        Tile& next = tiles[at ^ 1];
        next.show(g, tile.first + tile.n, mask);
        std::fill(tile.at + tile.n, tile.at + kTile, tile.at[0]);
        if (!tile.empty()) scan.take(tile, next);
        scan.turn(tile.first + kTile);
    }
    scan.finish();
}

}  // namespace karec
