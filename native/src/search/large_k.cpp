// Selects the k best of many rows if k is a large fraction of them.
//
// Algorithm: all rows are scored into one array. Bisection, one pass over the scores a step, finds a score that at
// least k rows and few more reach. Their ids are read in the order of rows, which is that of memory, then they are
// sorted. Cost: O(rows·D) for the scores; some 10 passes over them, at most 44; O(k) for the sort.
#include <algorithm>
#include <limits>

#include "search/scan.hpp"

namespace karec {
namespace {

constexpr std::size_t kAhead = 32;  // rows whose ids are prefetched

// The scores of the rows that a query has values for, and these rows.
struct ScoredRows {
    ScratchArray<float> scores;
    ScratchArray<std::int32_t> rows;  // unused if the query is single: all rows are scored
    std::size_t n = 0;
};

ScoredRows score_all(const Generation& g, const PaddedQueries& queries, std::span<const std::int32_t> rows) {
    ScoredRows scored{ScratchArray<float>(rows.size()),
                      ScratchArray<std::int32_t>(queries.is_single() ? 0 : rows.size())};
    score_rows(g, queries, rows,
               [&](std::size_t, std::size_t n, const std::int32_t* block_rows, const float* block_scores) {
                   if (queries.is_single()) {
                       std::copy_n(block_scores, n, &scored.scores[scored.n]);
                       scored.n += n;
                       return;
                   }
                   for (std::size_t i = 0; i < n; ++i) {
                       scored.scores[scored.n] = block_scores[i];
                       scored.rows[scored.n] = block_rows[i];
                       scored.n += block_rows[i] >= 0;
                   }
               });
    return scored;
}

}  // namespace

std::uint32_t find_kth_score(const float* scores, std::size_t n, std::size_t k) {
    constexpr int kValueSteps = 12;  // steps that halve the range of scores, before steps that halve that of their bits
    const Kernels& loops = kernels();
    float smallest = 0.0f;
    float largest = 0.0f;
    loops.score_range(scores, n, &smallest, &largest);
    const auto count_from = [&](std::uint32_t ordered) {
        return loops.count_scores(scores, n, score_from_ordered(ordered));
    };
    auto choose = [step = 0](std::uint32_t low, std::uint32_t high) mutable {
        if (step++ >= kValueSteps) return halve_range(low, high);
        const float middle = 0.5f * score_from_ordered(low) + 0.5f * score_from_ordered(high);
        return std::clamp(ordered_score(middle), low + 1, high);
    };
    const bool reach_smallest = loops.count_scores(scores, n, smallest) >= k;
    const float low = reach_smallest ? smallest : -std::numeric_limits<float>::infinity();
    return find_kth_score(ordered_score(low), ordered_score(largest), k, k + k / 32, count_from, choose);
}

std::size_t select_large_k(const Generation& g, const PaddedQueries& queries, std::span<const std::int32_t> rows,
                           const Ranked& out) {
    ScoredRows scored = score_all(g, queries, rows);
    const std::size_t k = std::min(out.scores.size(), scored.n);
    if (k == 0) return 0;
    const std::int32_t* row_of = queries.is_single() ? rows.data() : &scored.rows[0];
    ScratchArray<std::uint64_t> keys(scored.n + kSelectionPadding);
    ScratchArray<std::uint64_t> spare(scored.n + kSelectionPadding);
    const std::uint32_t threshold = find_kth_score(&scored.scores[0], scored.n, k) - 1;
    const std::size_t n = kernels().select_scores(&scored.scores[0], nullptr, scored.n, 0, threshold, &keys[0]);
    struct Item {
        std::int64_t id;
        std::int64_t row;
    };
    ScratchArray<Item> items(n);
    const Pages<std::int64_t> ids = g.ids.pages();
    for (std::size_t i = 0; i < n; ++i) {
        const auto ahead = static_cast<std::uint32_t>(keys[std::min(i + kAhead, n - 1)]);
        __builtin_prefetch(ids.at(static_cast<std::size_t>(row_of[ahead])));
        const std::int32_t row = row_of[static_cast<std::uint32_t>(keys[i])];
        items[i] = {.id = *ids.at(static_cast<std::size_t>(row)), .row = row};
        keys[i] = (keys[i] & ~std::uint64_t{0xFFFFFFFF}) | i;
    }
    sort_by_score(keys, spare, n);
    for (std::size_t rank = 0; rank < k; ++rank) {
        const Item& item = items[static_cast<std::uint32_t>(keys[rank])];
        out.scores[rank] = score_from_ordered(static_cast<std::uint32_t>(keys[rank] >> 32));
        out.rows[rank] = static_cast<std::int32_t>(item.row);
        out.positions[rank] = item.row;
        out.ids[rank] = item.id;
    }
    return k;
}

}  // namespace karec
