// Algorithm: one kernel packs a tile of 64 rows, multiplies it with all queries and compares the products with each
// query's threshold, minus the tile's margin of error. Rows that pass are added to the query's BoundedTopK, which
// finally scores the rows that its bounds do not exclude. If many rows of a tile pass for a query, all rows of the next
// tiles are scored (search/bounded_top_k.hpp, search/tile.hpp). Cost: one pass over the rows, O(queries·N·D) in the
// kernel, O(queries·k·D) exact. If all scores are equal, about four times the kernel's.
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/kernels.hpp"
#include "search/bounded_top_k.hpp"
#include "search/scan.hpp"
#include "search/score_bound.hpp"
#include "search/tile.hpp"

namespace karec {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The state that kernels need in a thread while it scans.
class KernelState {
  public:
    explicit KernelState(const BoundKernels& kernels) : kernels_(kernels) {
        if (kernels_.begin != nullptr) kernels_.begin();
    }
    ~KernelState() {
        if (kernels_.end != nullptr) kernels_.end();
    }
    KernelState(const KernelState&) = delete;
    KernelState& operator=(const KernelState&) = delete;

  private:
    const BoundKernels& kernels_;
};

// The queries as columns of panels: one column a query, or one for each model version that a query has values for.
class QueryColumns {
  public:
    QueryColumns(const Generation& g, std::span<const Query> queries, const BoundKernels& kernels) : kernels_(kernels) {
        n_steps_ = (g.format.padded_dim() + kernels.dim_step - 1) / kernels.dim_step;
        panel_bytes_ = kColumns * n_steps_ * kernels.dim_step * kernels.element_bytes;
        for (std::size_t q = 0; q < queries.size(); ++q) {
            const std::size_t first = size();
            if (queries[q].by_version.empty()) add(g, q, queries[q].values);
            for (const VersionQuery& version_query : queries[q].by_version) add(g, q, version_query.values);
            const float error = *std::max_element(&errors_[first], errors_.data() + size());
            std::fill(&errors_[first], errors_.data() + size(), error);
            query_errors_.push_back(error);
        }
        cuts_.assign(n_panels() * kColumns, kInfinity);
        thresholds_.assign(size(), -kInfinity);
        masks_.resize(n_panels() * kTile);
        bounded_.assign(n_panels(), 0u);
        scores_.resize(n_panels() * kTile * kColumns);
        find_columns_of_versions(g, queries);
    }

    std::size_t n_panels() const noexcept { return (query_of_.size() + kColumns - 1) / kColumns; }
    std::size_t size() const noexcept { return query_of_.size(); }
    std::size_t n_steps() const noexcept { return n_steps_; }  // of a block's or panel's dimensions
    double max_norm() const noexcept { return max_norm_; }
    float error_of(std::size_t query) const noexcept { return query_errors_[query]; }
    bool has_one_version() const noexcept { return has_one_version_; }

    // Only a row with a score above `threshold` can be among the query's best.
    void set_threshold(std::size_t query, float threshold) noexcept {
        // Without an error an equal score loses too.
        if (query_errors_[query] == 0.0f && threshold > -kInfinity) threshold = std::nextafter(threshold, kInfinity);
        for (std::size_t c = 0; c < size(); ++c) thresholds_[c] = query_of_[c] == query ? threshold : thresholds_[c];
    }

    // Includes a query in for_each_query(), or excludes it.
    void set_bounded(std::size_t query, bool is_bounded) noexcept {
        for (std::size_t c = 0; c < size(); ++c) {
            const std::uint32_t bit = std::uint32_t{query_of_[c] == query} << c % kColumns;
            bounded_[c / kColumns] = (bounded_[c / kColumns] & ~bit) | (is_bounded ? bit : 0u);
        }
    }

    // Returns the rows of a packed tile, a bit each, that can be among the best of some query. `in` lacks the parts
    // that a panel has.
    std::uint64_t find_rows(BoundInput in, bool is_float16, const TileMargin& margin, float* next_square) {
        for (std::size_t c = 0; c < size(); ++c) cuts_[c] = below(thresholds_[c], margin.margin_of(errors_[c]));
        const auto kernel = is_float16 ? kernels_.compare_float16 : kernels_.compare_float32;
        std::uint64_t rows = 0;
        for (std::size_t p = 0; p < n_panels(); ++p) {
            in.panel = &panels_[p * panel_bytes_];
            in.n = std::min(kColumns, size() - p * kColumns);
            in.cuts = &cuts_[p * kColumns];
            rows |= kernel(in, &scores_[p * kTile * kColumns], &masks_[p * kTile], next_square);
            in.next = nullptr;
        }
        return rows;
    }

    // Calls take(query, approximate score) for each bounded query whose k best may include row i of the last tile.
    // `code` is the model version of the row.
    template <class Take>
    void for_each_query(std::size_t i, std::size_t code, Take&& take) const {
        for (std::size_t p = 0; p < n_panels(); ++p) {
            std::uint32_t mask = masks_[p * kTile + i] & columns_of_code_[code * n_panels() + p] & bounded_[p];
            for (; mask != 0; mask &= mask - 1) {
                const auto column = static_cast<std::size_t>(std::countr_zero(mask));
                take(query_of_[p * kColumns + column], scores_[(p * kTile + i) * kColumns + column]);
            }
        }
    }

  private:
    void add(const Generation& g, std::size_t query, std::span<const float> values) {
        const PaddedQuery padded = g.format.pad(values);
        double square = 0.0;
        for (const float x : padded.values) square += static_cast<double>(x) * x;
        max_norm_ = std::max(max_norm_, std::sqrt(square));
        errors_.push_back(bound_error(padded.values, std::sqrt(square), kernels_));
        const std::size_t column = size();
        if (column % kColumns == 0) panels_.resize(panels_.size() + panel_bytes_);
        kernels_.write_column(padded.values.data(), padded.values.size(), column % kColumns,
                              &panels_[column / kColumns * panel_bytes_]);
        query_of_.push_back(query);
    }

    void find_columns_of_versions(const Generation& g, std::span<const Query> queries) {
        columns_of_code_.assign(kMaxVersions * n_panels(), 0u);
        std::size_t first = 0;
        for (const Query& query : queries) {
            has_one_version_ = has_one_version_ && query.by_version.empty();
            for (std::size_t code = 0; code < g.n_codes; ++code) {
                std::size_t column = first;
                if (!query.by_version.empty()) {
                    const auto found =
                        std::ranges::find(query.by_version, g.versions[code].number, &VersionQuery::model_version);
                    if (found == query.by_version.end()) continue;
                    column += static_cast<std::size_t>(found - query.by_version.begin());
                }
                columns_of_code_[code * n_panels() + column / kColumns] |= std::uint32_t{1} << column % kColumns;
            }
            first += std::max<std::size_t>(query.by_version.size(), 1);
        }
    }

    const BoundKernels& kernels_;
    std::size_t n_steps_ = 0;
    std::size_t panel_bytes_ = 0;
    double max_norm_ = 0.0;
    bool has_one_version_ = true;
    ScratchVector<std::byte> panels_;
    ScratchVector<float> query_errors_;  // by query, the largest of its columns
    // By column:
    ScratchVector<std::size_t> query_of_;
    ScratchVector<float> errors_;
    ScratchVector<float> thresholds_;
    ScratchVector<float> cuts_;
    // By panel:
    ScratchVector<float> scores_;                   // 64 rows by kColumns
    ScratchVector<std::uint32_t> masks_;            // for each of 64 rows the columns that it passes
    ScratchVector<std::uint32_t> bounded_;          // columns of bounded queries
    ScratchVector<std::uint32_t> columns_of_code_;  // for each model version, its columns of each panel
};

// A scan in progress. A query's tile is either bounded or scored whole (exact).
class BoundedScan {
  public:
    BoundedScan(const Generation& g, std::span<const Query> queries, std::size_t k, std::span<TopK> tops)
        : g_(g),
          tops_(tops),
          columns_(g, queries, kernels_),
          margins_(g.n_rows() / kTile + 1),
          n_exact_(queries.size()) {
        for (std::size_t q = 0; q < queries.size(); ++q) {
            queries_.emplace_back(queries[q], g, g.format);
            bounded_tops_.emplace_back(k, g.n_rows(), columns_.error_of(q), margins_);
        }
    }

    // All 64 addresses of `tile` are readable, and it is not empty.
    void scan_tile(const Tile& tile, const Tile& next) {
        for (std::size_t q = 0; q < tops_.size() && n_exact_ > 0; ++q) {
            if (tile.first < bounded_tops_[q].exact_end()) offer_tile(g_, tile, queries_[q], tops_[q], nullptr);
        }
        if (n_exact_ < tops_.size()) bound_tile(tile, next);
    }

    // Prepares each query for the tile that begins at row `next`.
    void update_queries(std::size_t next) {
        for (std::size_t q = 0; q < tops_.size(); ++q) {
            BoundedTopK& bounded = bounded_tops_[q];
            if (n_exact_ > 0 && bounded.exact_end() == next) {
                bounded.begin_bounds(tops_[q]);
                columns_.set_bounded(q, true);
                --n_exact_;
            } else if (bounded.is_full()) {
                bounded.compact(g_, queries_[q], tops_[q], next);
                if (bounded.exact_end() > next) {
                    columns_.set_bounded(q, false);
                    ++n_exact_;
                }
            } else {
                continue;
            }
            columns_.set_threshold(q, bounded.threshold());
        }
    }

    void finish() {
        for (std::size_t q = 0; q < tops_.size(); ++q) bounded_tops_[q].finish(g_, queries_[q], tops_[q]);
    }

  private:
    ScratchVector<std::byte> make_block() const {
        return ScratchVector<std::byte>(kTile * columns_.n_steps() * kernels_.dim_step * kernels_.element_bytes);
    }

    void bound_tile(const Tile& tile, const Tile& next) {
        const bool is_float16 = g_.format.dtype == DType::float16;
        const std::size_t dim = g_.format.padded_dim();
        if (packed_first_ != tile.first) {
            square_ =
                (is_float16 ? kernels_.pack_float16 : kernels_.pack_float32)(tile.vectors, dim, blocks_[0].data());
        }
        bound_.compute(g_, tile, square_, columns_.max_norm());
        margins_[tile.first / kTile] = bound_.margin();
        const bool has_next = next.n == kTile && !next.is_empty();
        const BoundInput in = {.block = blocks_[0].data(),
                               .panel = nullptr,
                               .n = 0,
                               .dim = dim,
                               .scales = bound_.scales(),
                               .offsets = bound_.offsets(),
                               .cuts = nullptr,
                               .next = has_next ? next.vectors : nullptr,
                               .next_block = blocks_[1].data(),
                               .row_bytes = g_.format.stride()};
        std::uint64_t rows = ~tile.excluded & ~std::uint64_t{0} >> (kTile - tile.n);
        rows &= columns_.find_rows(in, is_float16, bound_.margin(), &square_);
        if (has_next && kernels_.can_pack_next) {
            std::swap(blocks_[0], blocks_[1]);
            packed_first_ = next.first;
        }
        for (; rows != 0; rows &= rows - 1) {
            const auto i = static_cast<std::size_t>(std::countr_zero(rows));
            const auto row = static_cast<std::int32_t>(tile.first + i);
            const std::size_t code = columns_.has_one_version() ? 0 : g_.code_of(tile.first + i);
            columns_.for_each_query(i, code, [&](std::size_t q, float score) { bounded_tops_[q].add(row, score); });
        }
    }

    const BoundKernels& kernels_ = kernels().bounds;
    const KernelState kernel_state_{kernels_};
    const Generation& g_;
    std::span<TopK> tops_;
    QueryColumns columns_;
    ScratchVector<TileMargin> margins_;
    ScratchVector<std::byte> blocks_[2] = {make_block(), make_block()};   // this tile and the next one
    std::size_t packed_first_ = std::numeric_limits<std::size_t>::max();  // the first row of the tile in blocks_[0]
    float square_ = 0.0f;                                                 // the result of packing it
    TileBound bound_;
    ScratchVector<PaddedQueries> queries_;
    ScratchVector<BoundedTopK> bounded_tops_;
    std::size_t n_exact_;  // queries whose next tile is exact
};

}  // namespace

void bounded_scan(const Generation& g, std::span<const Query> queries, std::span<const std::uint8_t> mask,
                  std::size_t k, std::span<TopK> tops) {
    if (k == 0) return;
    BoundedScan scan(g, queries, k, tops);
    Tile tiles[2];
    tiles[0].read(g, 0, mask);
    for (std::size_t half = 0; tiles[half].n > 0; half ^= 1) {
        Tile& tile = tiles[half];
        Tile& next = tiles[half ^ 1];
        next.read(g, tile.first + tile.n, mask);
        std::fill(tile.vectors + tile.n, tile.vectors + kTile, tile.vectors[0]);
        if (!tile.is_empty()) scan.scan_tile(tile, next);
        scan.update_queries(tile.first + kTile);
    }
    scan.finish();
}

}  // namespace karec
