// Exact scores of candidates and of rows: the inner product with the query of the row's model version, plus its tables
// at the row's codes, then scale and offset of that version, then scale and offset of the item.
//
// Algorithm: blocks of 128. While a block is scored, the vectors and codes of the next block and the id-map buckets of
// the block after it are prefetched. Vectors and codes of blocked items are not read.
// Cost: one pass over the rows, O(N·(D + tables)).
// Invariant: an id map that was opened without verify, or an array that another thread writes, may give any row. Each
// candidate's row is compared with n_rows after it was read.
// Threads: any number of threads may use one PaddedQueries; the other objects belong to one call.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "index/generation.hpp"
#include "index/id_map.hpp"
#include "karec/index_view.hpp"
#include "search/code_tables.hpp"

namespace karec {

inline constexpr std::size_t kScoreBlock = 128;  // prefetched rows: enough to hide memory latency, few enough for L2
inline constexpr std::int32_t kBlockedRow = -2;
static_assert(kScoreBlock == IdLookup::kBlock);
static_assert(kScoreBlock <= kTableRows);

// A checked query, or one for each model version, padded and rounded for the kernels of one row format.
class PaddedQueries {
  public:
    PaddedQueries(const Query& query, const Generation& g, const RowFormat& format);

    // out[i] = ⟨query of row i's version, vectors[i]⟩, without scale and offset. `rows` gives the versions; rows[i] < 0
    // is skipped, and rows of a version without a query become kUnknownRow. Prefetches `next` if it is not null.
    void dot(const Generation& g, std::int32_t* rows, const std::byte* const* vectors, const std::byte* const* next,
             std::size_t n, float* out) const noexcept;
    // scores[i] += the sum of the tables of row i's version at codes[i]; the score of a row < 0 becomes arbitrary.
    // Prefetches `next` if it is not null.
    void add_tables(const Generation& g, const std::int32_t* rows, const std::uint32_t* const* codes,
                    const std::uint32_t* const* next, std::size_t n, float* scores) const noexcept;
    bool is_single() const noexcept { return query_of_code_.empty(); }
    bool has_tables() const noexcept {
        return std::ranges::any_of(tables_, [](const CodeTables& tables) { return !tables.empty(); });
    }
    bool is_int8() const noexcept { return format_.dtype == DType::int8; }

    // Readable memory of a row's length for candidates without a row: kernels need no branch.
    const std::byte* placeholder() const noexcept {
        return reinterpret_cast<const std::byte*>(queries_[0].values.data());
    }

  private:
    static constexpr std::size_t kNoQuery = SIZE_MAX;
    RowFormat format_;
    ScratchVector<PaddedQuery> queries_;
    ScratchVector<CodeTables> tables_;          // of each query
    ScratchVector<std::size_t> query_of_code_;  // by version code of a row; empty: one query for all rows
};

inline constexpr std::uint32_t kNoCodes[kMaxCodeColumns] = {};  // of a row without an item

// codes[i] = the codes of rows[i] ≥ 0.
inline void find_codes(const Generation& g, const std::int32_t* rows, std::size_t n, const std::uint32_t** codes) {
    for (std::size_t i = 0; i < n; ++i) codes[i] = g.item_codes.at(static_cast<std::size_t>(rows[i]));
}

// For rows[i] ≥ 0, scores[i] → (scores[i]·scale of an int8 row + tables)·scale + offset of the row's model version.
// codes[i] are those of row i, or kNoCodes if rows[i] < 0; they are read if the query has tables. Prefetches the codes
// `next` if it is not null.
void apply_version_scales(const Generation& g, const PaddedQueries& queries, const std::int32_t* rows,
                          const std::uint32_t* const* codes, const std::uint32_t* const* next, std::size_t n,
                          float* scores) noexcept;
// The same, then scale and offset of the row's item.
void adjust_scores(const Generation& g, const PaddedQueries& queries, const std::int32_t* rows,
                   const std::uint32_t* const* codes, const std::uint32_t* const* next, std::size_t n,
                   float* scores) noexcept;

// A block of candidates. A skipped candidate has a readable vector and adjustment without meaning.
struct CandidateBlock {
    std::int32_t rows[kScoreBlock];  // or why the candidate is skipped: kUnknownRow, kBlockedRow
    const std::byte* vectors[kScoreBlock];
    const std::uint32_t* codes[kScoreBlock];     // not set if the index has none
    const Adjustment* adjustments[kScoreBlock];  // not set if the index has none
};

class CandidateReader {
  public:
    CandidateReader(const Generation& g, const Candidates& candidates, const std::byte* placeholder)
        : g_(g), candidates_(candidates), placeholder_(placeholder), lookup_(g.id_map, candidates.ids) {}

    // Reads candidates first … first + n − 1. Called in order, kScoreBlock at a time. Prefetches adjustments and int8
    // scales; PaddedQueries::dot prefetches the vectors, add_tables the codes.
    void read(std::size_t first, std::size_t n, CandidateBlock& block) noexcept {
        if (candidates_.ids.empty()) {
            for (std::size_t i = 0; i < n; ++i) block.rows[i] = candidates_.rows.values[first + i];
        } else {
            lookup_.next(block.rows);
        }
        if (g_.n_rows() == 0) {
            std::fill_n(block.rows, n, kUnknownRow);
            std::fill_n(block.vectors, n, placeholder_);
            std::fill_n(block.codes, n, kNoCodes);
            return;
        }
        find_vectors(n, block);
        if (!g_.adjustments.empty()) find_adjustments(n, block);
        for (std::size_t i = 0; i < n && !g_.scales.empty(); ++i) {
            if (block.rows[i] >= 0) __builtin_prefetch(g_.scales.at(static_cast<std::size_t>(block.rows[i])), 0, 2);
        }
    }

  private:
    // No branch depends on a row, because it cannot be predicted: each candidate is treated as scored, and the few
    // skipped ones are corrected afterwards.
    void find_vectors(std::size_t n, CandidateBlock& block) const noexcept {
        const auto n_rows = static_cast<std::uint32_t>(g_.n_rows());
        const Pages<std::byte> vectors = g_.rows.pages();
        const Pages<std::uint32_t> codes = g_.item_codes.pages();
        const bool has_codes = !g_.item_codes.empty();
        const RowSet::Words closed = g_.closed.to_words();
        std::uint32_t skipped[kScoreBlock];
        std::size_t n_skipped = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const auto row = static_cast<std::uint32_t>(block.rows[i]);
            const bool is_unknown = row >= n_rows;
            const std::uint32_t readable_row = is_unknown ? 0 : row;
            block.vectors[i] = vectors.at(readable_row);
            if (has_codes) block.codes[i] = codes.at(readable_row);
            skipped[n_skipped] = static_cast<std::uint32_t>(i);
            n_skipped += is_unknown | closed.has(readable_row);
        }
        for (std::size_t s = 0; s < n_skipped; ++s) {
            std::int32_t& row = block.rows[skipped[s]];
            block.vectors[skipped[s]] = placeholder_;
            block.codes[skipped[s]] = kNoCodes;
            const bool is_known = static_cast<std::uint32_t>(row) < n_rows;
            row = is_known && !g_.removed.has(static_cast<std::size_t>(row)) ? kBlockedRow : kUnknownRow;
        }
    }

    void find_adjustments(std::size_t n, CandidateBlock& block) const noexcept {
        const Pages<Adjustment> adjustments = g_.adjustments.pages();
        const RowSet::Words adjusted = g_.adjusted.to_words();
        for (std::size_t i = 0; i < n; ++i) {
            const auto row = static_cast<std::uint32_t>(std::max(block.rows[i], 0));
            block.adjustments[i] = adjusted.has(row) ? adjustments.at(row) : &kNoAdjustment;
            __builtin_prefetch(block.adjustments[i], 0, 2);
        }
    }

    const Generation& g_;
    const Candidates& candidates_;
    const std::byte* placeholder_;
    IdLookup lookup_;
};

// Calls take(first, n, rows, scores) for each block in order. Returns the numbers of skipped candidates.
template <class Take>
SearchCount score_candidates(const Generation& g, const PaddedQueries& queries, const Candidates& candidates,
                             Take&& take) {
    SearchCount counts;
    counts.generation = g.number;
    CandidateBlock blocks[2];
    float scores[kScoreBlock];
    std::fill(std::begin(blocks[1].vectors), std::end(blocks[1].vectors), queries.placeholder());
    std::fill(std::begin(blocks[1].rows), std::end(blocks[1].rows), kUnknownRow);
    const std::size_t n_candidates = candidates.size();
    CandidateReader reader(g, candidates, queries.placeholder());
    reader.read(0, std::min(kScoreBlock, n_candidates), blocks[0]);
    std::size_t half = 0;
    for (std::size_t first = 0; first < n_candidates; first += kScoreBlock, half ^= 1) {
        const std::size_t n = std::min(kScoreBlock, n_candidates - first);
        const std::size_t n_next = std::min(kScoreBlock, n_candidates - first - n);
        CandidateBlock& block = blocks[half];
        if (n_next > 0) reader.read(first + n, n_next, blocks[half ^ 1]);
        const CandidateBlock* next = n_next > 0 ? &blocks[half ^ 1] : nullptr;
        queries.dot(g, block.rows, block.vectors, next != nullptr ? next->vectors : nullptr, n, scores);
        apply_version_scales(g, queries, block.rows, block.codes, next != nullptr ? next->codes : nullptr, n, scores);
        for (std::size_t i = 0; i < n && !g.adjustments.empty(); ++i) {
            scores[i] = scores[i] * block.adjustments[i]->scale + block.adjustments[i]->offset;
        }
        std::int32_t n_unknown = 0;  // 32 bits: the compiler counts four in a vector
        std::int32_t n_blocked = 0;
        for (std::size_t i = 0; i < n; ++i) {
            n_unknown += block.rows[i] == kUnknownRow;
            n_blocked += block.rows[i] == kBlockedRow;
        }
        counts.unknown += static_cast<std::size_t>(n_unknown);
        counts.blocked += static_cast<std::size_t>(n_blocked);
        take(first, n, block.rows, scores);
    }
    return counts;
}

// Calls take(first, n, rows, scores) for each block of `all` in order; `all` are open rows of g. If the query has no
// values for the version of row i, rows[i] is negative and scores[i] undefined.
template <class Take>
void score_rows(const Generation& g, const PaddedQueries& queries, std::span<const std::int32_t> all, Take&& take) {
    std::int32_t rows[kScoreBlock];
    const std::byte* vectors[2][kScoreBlock];
    const std::uint32_t* codes[2][kScoreBlock];
    float scores[kScoreBlock];
    const auto find_vectors = [&](std::size_t first, std::size_t half) {
        const std::size_t n = std::min(kScoreBlock, all.size() - first);
        for (std::size_t i = 0; i < n; ++i) vectors[half][i] = g.rows.at(static_cast<std::size_t>(all[first + i]));
        if (queries.has_tables()) find_codes(g, &all[first], n, codes[half]);
        return n;
    };
    std::size_t n_next = find_vectors(0, 0);
    std::size_t half = 0;
    for (std::size_t first = 0; n_next > 0; half ^= 1) {
        const std::size_t n = n_next;
        n_next = find_vectors(first + n, half ^ 1);
        std::copy_n(&all[first], n, rows);
        const bool has_next = n_next == n;
        queries.dot(g, rows, vectors[half], has_next ? vectors[half ^ 1] : nullptr, n, scores);
        adjust_scores(g, queries, rows, codes[half], has_next ? codes[half ^ 1] : nullptr, n, scores);
        take(first, n, rows, scores);
        first += n;
    }
}

}  // namespace karec
