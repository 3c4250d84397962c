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
#include <span>

#include "index/generation.hpp"
#include "index/id_lookup.hpp"
#include "karec/index_view.hpp"

namespace karec {

inline constexpr std::size_t kScoreBlock = 128;  // prefetched rows: enough to hide memory latency, few enough for L2
inline constexpr std::int32_t kBlockedRow = -2;
static_assert(kScoreBlock == IdLookup::kBlock);

// A checked query, or one for each model version, padded and rounded for the kernels of one row format.
class ReadyQuery {
  public:
    ReadyQuery(const Query& query, const Generation& g, const RowFormat& format);

    // out[i] = ⟨query of row i's version, row i⟩, without adjustment; rows[i] < 0 may hold anything. Rows of a version
    // without a query become kUnknownRow.
    void dot(const Generation& g, std::int32_t* rows, const std::byte* const* at, const std::byte* const* next,
             std::size_t n, float* out) const noexcept;
    // The same of 64 packed float rows, of which rows[0 … n − 1] say the versions; `out` has room for 64.
    void dot_packed(const Generation& g, std::int32_t* rows, const float* block, std::size_t n,
                    float* out) const noexcept;
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

// scores[i] → scores[i]·scale + offset for the rows ≥ 0, of the row's model version, after the scale of an int8 row.
void scale_scores(const Generation& g, const std::int32_t* rows, std::size_t n, bool int8, float* scores) noexcept;
// scale_scores, and then the same with the adjustment of the row's work.
void adjust_scores(const Generation& g, const std::int32_t* rows, std::size_t n, bool int8, float* scores) noexcept;

// A block of candidates: their rows, or why they are skipped (kUnknownRow, kBlockedRow); where a row lies, and its
// adjustment. A skipped candidate has readable ones, which say nothing.
struct Resolved {
    std::int32_t rows[kScoreBlock];
    const std::byte* at[kScoreBlock];
    const Adjustment* adjustments[kScoreBlock];  // not set where the index has none
};

class Resolver {
  public:
    Resolver(const Generation& g, const Candidates& candidates, const std::byte* no_row)
        : g_(g), candidates_(candidates), no_row_(no_row), lookup_(g.id_map, candidates.ids) {}

    // Candidates first … first + n − 1. Called in order, with kScoreBlock at a time. Prefetches what it names, but the
    // rows' vectors: ReadyQuery::dot does.
    void resolve(std::size_t first, std::size_t n, Resolved& to) noexcept {
        if (candidates_.ids.empty()) {
            for (std::size_t i = 0; i < n; ++i) to.rows[i] = candidates_.rows.values[first + i];
        } else {
            lookup_.next(to.rows);
        }
        if (g_.n_rows() == 0) {
            std::fill_n(to.rows, n, kUnknownRow);
            std::fill_n(to.at, n, no_row_);
            return;
        }
        place(n, to);
        if (!g_.adjustments.empty()) show_adjustments(n, to);
        for (std::size_t i = 0; i < n && !g_.scales.empty(); ++i) {
            if (to.rows[i] >= 0) __builtin_prefetch(g_.scales.at(static_cast<std::size_t>(to.rows[i])), 0, 2);
        }
    }

  private:
    // No branch depends on the row, as that cannot be predicted: each is taken for one that is scored, and the few
    // others are corrected.
    void place(std::size_t n, Resolved& to) const noexcept {
        // The id map of a file opened without verify may give any row.
        const auto n_rows = static_cast<std::uint32_t>(g_.n_rows());
        const Pages<std::byte> vectors = g_.rows.pages();
        const RowSet::Words closed = g_.closed.in_registers();
        std::uint32_t skipped[kScoreBlock];
        std::size_t n_skipped = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const auto row = static_cast<std::uint32_t>(to.rows[i]);
            const bool unknown = row >= n_rows;
            const std::uint32_t some = unknown ? 0 : row;
            to.at[i] = vectors.at(some);
            skipped[n_skipped] = static_cast<std::uint32_t>(i);
            n_skipped += unknown | closed.has(some);
        }
        for (std::size_t s = 0; s < n_skipped; ++s) {
            std::int32_t& row = to.rows[skipped[s]];
            to.at[skipped[s]] = no_row_;
            const bool known = static_cast<std::uint32_t>(row) < n_rows;
            row = known && !g_.removed.has(static_cast<std::size_t>(row)) ? kBlockedRow : kUnknownRow;
        }
    }

    void show_adjustments(std::size_t n, Resolved& to) const noexcept {
        const Pages<Adjustment> all = g_.adjustments.pages();
        const RowSet::Words adjusted = g_.adjusted.in_registers();
        for (std::size_t i = 0; i < n; ++i) {
            const auto row = static_cast<std::uint32_t>(std::max(to.rows[i], 0));
            to.adjustments[i] = adjusted.has(row) ? all.at(row) : &kNoAdjustment;
            __builtin_prefetch(to.adjustments[i], 0, 2);
        }
    }

    const Generation& g_;
    const Candidates& candidates_;
    const std::byte* no_row_;
    IdLookup lookup_;
};

// Calls take(first, n, rows, scores) for each block in order; returns how many were skipped, and why.
template <class Take>
SearchCount score_candidates(const Generation& g, const ReadyQuery& query, const Candidates& candidates, Take&& take) {
    SearchCount counts;
    counts.generation = g.number;
    Resolved blocks[2];
    float scores[kScoreBlock];
    std::fill(std::begin(blocks[1].at), std::end(blocks[1].at), query.no_row());
    const bool int8 = g.format.dtype == DType::int8;
    const std::size_t total = candidates.size();
    Resolver resolver(g, candidates, query.no_row());
    resolver.resolve(0, std::min(kScoreBlock, total), blocks[0]);
    std::size_t half = 0;
    for (std::size_t first = 0; first < total; first += kScoreBlock, half ^= 1) {
        const std::size_t n = std::min(kScoreBlock, total - first);
        const std::size_t n_next = std::min(kScoreBlock, total - first - n);
        Resolved& block = blocks[half];
        if (n_next > 0) resolver.resolve(first + n, n_next, blocks[half ^ 1]);
        query.dot(g, block.rows, block.at, n_next > 0 ? blocks[half ^ 1].at : nullptr, n, scores);
        scale_scores(g, block.rows, n, int8, scores);
        for (std::size_t i = 0; i < n && !g.adjustments.empty(); ++i) {
            scores[i] = scores[i] * block.adjustments[i]->scale + block.adjustments[i]->offset;
        }
        std::int32_t unknown = 0;  // of 32 bits: four in a vector
        std::int32_t blocked = 0;
        for (std::size_t i = 0; i < n; ++i) {
            unknown += block.rows[i] == kUnknownRow;
            blocked += block.rows[i] == kBlockedRow;
        }
        counts.unknown += static_cast<std::size_t>(unknown);
        counts.blocked += static_cast<std::size_t>(blocked);
        take(first, n, block.rows, scores);
    }
    return counts;
}

// Calls take(first, n, rows, scores) for each block of `all`, rows that hold works, in order. Of a version that the
// query has no values for, rows[i] is negative and scores[i] says nothing.
template <class Take>
void score_rows(const Generation& g, const ReadyQuery& query, std::span<const std::int32_t> all, Take&& take) {
    const bool int8 = g.format.dtype == DType::int8;
    std::int32_t rows[kScoreBlock];
    const std::byte* at[2][kScoreBlock];
    float scores[kScoreBlock];
    const Pages<std::byte> vectors = g.rows.pages();
    const auto show = [&all, vectors](std::size_t first, const std::byte** to) {
        const std::size_t n = std::min(kScoreBlock, all.size() - first);
        for (std::size_t i = 0; i < n; ++i) to[i] = vectors.at(static_cast<std::size_t>(all[first + i]));
        return n;
    };
    std::size_t n_next = show(0, at[0]);
    std::size_t half = 0;
    for (std::size_t first = 0; n_next > 0; half ^= 1) {
        const std::size_t n = n_next;
        n_next = show(first + n, at[half ^ 1]);
        std::copy_n(&all[first], n, rows);
        query.dot(g, rows, at[half], n_next == n ? at[half ^ 1] : nullptr, n, scores);
        adjust_scores(g, rows, n, int8, scores);
        take(first, n, rows, scores);
        first += n;
    }
}

// How many candidates to keep for rescoring to k: 1.2·k where float32 rows are kept, else k.
inline std::size_t n_to_rescore(const Generation& g, std::size_t k) noexcept {
    return g.keeps_exact ? k + (k + 4) / 5 : k;
}

}  // namespace karec
