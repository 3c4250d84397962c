// Tiles of 64 rows: packed, multiplied with all queries and compared with each query's cut by one kernel. What passes
// joins the query's contenders, of which those that the bounds leave at the end are scored in place. Cost: one pass
// over the rows, O(queries·N·D) by the kernel, O(queries·k·D) exact; where scores are equal everywhere, exact scores of
// all.
#include "search/bounded_scan.hpp"

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/isa_table.hpp"
#include "search/contenders.hpp"
#include "search/score_bound.hpp"
#include "search/scoring.hpp"
#include "search/tile.hpp"

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
        const std::size_t dim = g.format.padded_dim();
        const std::size_t steps = (dim + kernels.step - 1) / kernels.step;
        panel_bytes_ = kColumns * steps * kernels.step * kernels.element;
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
    double largest_norm() const noexcept { return largest_norm_; }

    float error_of(std::size_t query) const noexcept { return error_of_[query]; }

    // No later row is among a query's best whose score is not above `least`.
    void raise(std::size_t query, float least) noexcept {
        // Without an error, an equal score is out as well.
        const float infinity = std::numeric_limits<float>::infinity();
        if (error_of_[query] == 0.0f && least > -infinity) least = std::nextafter(least, infinity);
        for (std::size_t c = 0; c < size(); ++c) leasts_[c] = query_of_[c] == query ? least : leasts_[c];
    }

    // The rows of a tile that some query cannot rule out, a bit each.
    std::uint64_t reach(const void* block, std::size_t dim, const TileBound& bound, const std::byte* const* next,
                        std::size_t row_bytes) {
        const TileMargin margin = bound.margin();
        for (std::size_t c = 0; c < size(); ++c) cuts_[c] = below(leasts_[c], margin.of(errors_[c]));
        std::uint64_t any = 0;
        for (std::size_t p = 0; p < n_panels(); ++p) {
            const ReachInput in = {.block = block,
                                   .panel = &panels_[p * panel_bytes_],
                                   .n = std::min(kColumns, size() - p * kColumns),
                                   .dim = dim,
                                   .scales = bound.scales(),
                                   .offsets = bound.offsets(),
                                   .cuts = &cuts_[p * kColumns],
                                   .next = p == 0 ? next : nullptr,
                                   .row_bytes = row_bytes};
            any |= kernels_.reach(in, &values_[p * kTile * kColumns], &masks_[p * kTile]);
        }
        return any;
    }

    // Calls take(query, approximate score) for each query that did not rule out row i of the last tile, of the model
    // version `code`.
    template <class Take>
    void for_queries(std::size_t i, std::size_t code, Take&& take) const {
        for (std::size_t p = 0; p < n_panels(); ++p) {
            std::uint32_t mask = masks_[p * kTile + i] & of_code_[code * n_panels() + p];
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
        kernels_.put_column(padded.values.data(), padded.values.size(), at % kColumns,
                            &panels_[at / kColumns * panel_bytes_]);
        query_of_.push_back(query);
    }

    const BoundKernels& kernels_;
    std::size_t panel_bytes_ = 0;
    ScratchVector<std::byte> panels_;
    ScratchVector<std::size_t> query_of_;  // by column
    ScratchVector<float> error_of_;        // by query, the largest of its columns
    ScratchVector<float> errors_;          // the same by column
    ScratchVector<float> leasts_;
    ScratchVector<float> cuts_;
    ScratchVector<float> values_;           // of each panel, its 64 rows by kColumns
    ScratchVector<std::uint32_t> masks_;    // of each panel, its 64 rows
    ScratchVector<std::uint32_t> of_code_;  // of each model version, the columns of each panel that are meant for it
    double largest_norm_ = 0.0;
    bool one_for_all_ = true;
};

}  // namespace

void bounded_scan(const Generation& g, std::span<const Query> queries, std::span<const std::uint8_t> mask,
                  std::size_t k, std::span<TopK> tops) {
    if (k == 0) return;
    const BoundKernels& kernels = bound_kernels();
    const std::size_t dim = g.format.padded_dim();
    const auto pack = g.format.dtype == DType::float16 ? kernels.pack_float16 : kernels.pack_float32;
    Columns columns(g, queries, kernels);
    ScratchVector<TileMargin> margins(g.n_rows() / kTile + 1);
    ScratchVector<ReadyQuery> ready;
    ScratchVector<Contenders> contenders;
    for (std::size_t q = 0; q < queries.size(); ++q) {
        ready.emplace_back(queries[q], g, g.format);
        contenders.emplace_back(k, g.n_rows(), columns.error_of(q), margins);
    }
    const std::size_t steps = (dim + kernels.step - 1) / kernels.step;
    ScratchVector<std::byte> block(kTile * steps * kernels.step * kernels.element);
    const KernelsInUse in_use(kernels);
    TileBound bound;
    Tile tiles[2];
    tiles[0].show(g, 0, mask);
    for (std::size_t at = 0; tiles[at].n > 0; at ^= 1) {
        Tile& tile = tiles[at];
        Tile& next = tiles[at ^ 1];
        next.show(g, tile.first + tile.n, mask);
        if (tile.empty()) continue;
        std::fill(tile.at + tile.n, tile.at + kTile, tile.at[0]);
        bound.show(g, tile, pack(tile.at, dim, block.data()), columns.largest_norm());
        margins[tile.first / kTile] = bound.margin();
        const std::byte* const* const ahead = next.n == kTile ? next.at : nullptr;
        std::uint64_t rows = ~tile.left_out & ~std::uint64_t{0} >> (kTile - tile.n);
        for (rows &= columns.reach(block.data(), dim, bound, ahead, g.format.stride()); rows != 0; rows &= rows - 1) {
            const auto i = static_cast<std::size_t>(std::countr_zero(rows));
            const auto row = static_cast<std::int32_t>(tile.first + i);
            const std::size_t code = columns.one_for_all() ? 0 : g.code_of(tile.first + i);
            columns.for_queries(i, code, [&](std::size_t q, float score) { contenders[q].add(row, score); });
        }
        for (std::size_t q = 0; q < queries.size(); ++q) {
            if (!contenders[q].full()) continue;
            contenders[q].thin(g, ready[q], tops[q]);
            columns.raise(q, contenders[q].least());
        }
    }
    for (std::size_t q = 0; q < queries.size(); ++q) contenders[q].finish(g, ready[q], tops[q]);
}

}  // namespace karec
