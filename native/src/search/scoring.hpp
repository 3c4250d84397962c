// Candidates to adjusted scores, in one pass over blocks of 128: look up ids, skip blocked works, prefetch, inner
// product, scale and offset of its version and of the work.
//
// While a block is scored, the rows of the next block and the id-map buckets of the block after it are prefetched. The
// row of a blocked work is not read. Cost: one pass over the candidates' rows.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "index/generation.hpp"
#include "karec/index_view.hpp"

namespace karec {

inline constexpr std::size_t kScoreBlock = 128;  // prefetched rows: enough to hide memory latency, few enough for L2
inline constexpr std::int32_t kBlockedRow = -2;

// A checked query, or one for each model version, padded and rounded for the kernels of one row format.
class ReadyQuery {
  public:
    ReadyQuery(const Query& query, const Generation& g, const RowFormat& format);

    // out[i] = ⟨query of row i's version, row i⟩, without adjustment; rows[i] < 0 may hold anything. Rows of a version
    // without a query become kUnknownRow.
    void dot(const Generation& g, std::int32_t* rows, const std::byte* const* at, const std::byte* const* next,
             std::size_t n, float* out) const noexcept;
    bool one_for_all() const noexcept { return of_code_.empty(); }

    // Readable memory of a row's length, for candidates without a row, so that kernels need no branch.
    const std::byte* no_row() const noexcept { return reinterpret_cast<const std::byte*>(queries_[0].values.data()); }

  private:
    static constexpr std::size_t kNoQuery = SIZE_MAX;
    template <class Dot>
    void each_version(const Generation& g, std::int32_t* rows, std::size_t n, float* out,
                      Dot&& dot_with) const noexcept;
    RowFormat format_;
    ScratchVector<PaddedQuery> queries_;
    ScratchVector<std::size_t> of_code_;  // empty: one query for all
};

// scores[i] → scores[i]·scale + offset for the rows ≥ 0, of the row's model version and then of its work, after the
// scale of an int8 row.
void adjust_scores(const Generation& g, const std::int32_t* rows, std::size_t n, bool int8, float* scores) noexcept;

class Resolver {
  public:
    Resolver(const Generation& g, const Candidates& candidates, const std::byte* no_row)
        : g_(g), candidates_(candidates), no_row_(no_row) {
        const std::size_t n = std::min(kScoreBlock, candidates.ids.size());
        for (std::size_t i = 0; i < n; ++i) homes_[i] = g.id_map.prefetch(candidates.ids[i]);
    }

    // Rows of candidates first … first + n − 1 (kUnknownRow, kBlockedRow), and where they lie. Called in order, with
    // kScoreBlock at a time.
    void resolve(std::size_t first, std::size_t n, std::int32_t* rows, const std::byte** at) noexcept {
        if (candidates_.ids.empty()) {
            for (std::size_t i = 0; i < n; ++i) rows[i] = candidates_.rows.values[first + i];
        } else {
            for (std::size_t i = 0; i < n; ++i) {
                const std::size_t after = first + n + i;
                rows[i] = g_.id_map.find_from(candidates_.ids[first + i], homes_[i]);
                if (after < candidates_.ids.size()) homes_[i] = g_.id_map.prefetch(candidates_.ids[after]);
            }
        }
        for (std::size_t i = 0; i < n; ++i) {
            // The id map of a file opened without verify may return any row: check the bounds.
            const auto row = static_cast<std::size_t>(rows[i]);
            if (rows[i] < 0 || row >= g_.n_rows()) {
                rows[i] = kUnknownRow;
            } else if (g_.closed.has(row)) {
                rows[i] = g_.removed.has(row) ? kUnknownRow : kBlockedRow;
            }
            at[i] = rows[i] < 0 ? no_row_ : g_.rows.at(row);
            if (rows[i] < 0) continue;
            if (!g_.adjustments.empty()) __builtin_prefetch(g_.adjustments.at(row));
            if (!g_.scales.empty()) __builtin_prefetch(g_.scales.at(row));
        }
    }

  private:
    const Generation& g_;
    const Candidates& candidates_;
    const std::byte* no_row_;
    std::array<std::size_t, kScoreBlock> homes_{};
};

// Calls take(first, n, rows, scores) for each block in order; returns how many were skipped, and why.
template <class Take>
SearchCount score_candidates(const Generation& g, const ReadyQuery& query, const Candidates& candidates, Take&& take) {
    SearchCount counts;
    counts.generation = g.number;
    std::int32_t rows[2][kScoreBlock];
    const std::byte* at[2][kScoreBlock];
    float scores[kScoreBlock];
    std::fill(std::begin(at[1]), std::end(at[1]), query.no_row());
    const std::size_t total = candidates.size();
    Resolver resolver(g, candidates, query.no_row());
    resolver.resolve(0, std::min(kScoreBlock, total), rows[0], at[0]);
    std::size_t half = 0;
    for (std::size_t first = 0; first < total; first += kScoreBlock, half ^= 1) {
        const std::size_t n = std::min(kScoreBlock, total - first);
        const std::size_t n_next = std::min(kScoreBlock, total - first - n);
        if (n_next > 0) resolver.resolve(first + n, n_next, rows[half ^ 1], at[half ^ 1]);
        query.dot(g, rows[half], at[half], n_next > 0 ? at[half ^ 1] : nullptr, n, scores);
        adjust_scores(g, rows[half], n, g.format.dtype == DType::int8, scores);
        for (std::size_t i = 0; i < n; ++i) {
            counts.unknown += rows[half][i] == kUnknownRow;
            counts.blocked += rows[half][i] == kBlockedRow;
        }
        take(first, n, rows[half], scores);
    }
    return counts;
}

// How many candidates to keep for rescoring to k: 1.2·k where float32 rows are kept, else k.
inline std::size_t n_to_rescore(const Generation& g, std::size_t k) noexcept {
    return g.keeps_exact ? k + (k + 4) / 5 : k;
}

}  // namespace karec
