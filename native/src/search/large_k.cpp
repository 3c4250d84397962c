#include "search/large_k.hpp"

#include <algorithm>
#include <limits>

#include "kernels/kernels.hpp"
#include "search/key_sort.hpp"

namespace karec {
namespace {

constexpr std::size_t kAhead = 32;  // rows whose ids are on their way from memory

}  // namespace

std::uint32_t reached_by(const float* scores, std::size_t n, std::size_t k) {
    constexpr int kByHalves = 12;  // steps that halve the range of scores, before those that halve that of their bits
    const Kernels& loops = kernels();
    const std::size_t enough = k + k / 32;
    float least = 0.0f;
    float largest = 0.0f;
    loops.score_range(scores, n, &least, &largest);
    // `low` is reached by k scores at least, what is above `high` is not.
    std::uint32_t low = ordered_score(-std::numeric_limits<float>::infinity());
    std::uint32_t high = ordered_score(largest);
    if (loops.count_scores(scores, n, least) >= k) low = ordered_score(least);
    for (int step = 0; low < high; ++step) {
        std::uint32_t middle = low + (high - low + 1) / 2;
        if (step < kByHalves) {
            const float half = 0.5f * score_from_ordered(low) + 0.5f * score_from_ordered(high);
            middle = std::clamp(ordered_score(half), low + 1, high);
        }
        const std::size_t reaching = loops.count_scores(scores, n, score_from_ordered(middle));
        if (reaching < k) {
            high = middle - 1;
            continue;
        }
        low = middle;
        if (reaching <= enough) break;
    }
    return low;
}

std::size_t best_of_rows(const Generation& g, const ReadyQuery& query, std::span<const std::int32_t> rows,
                         const Ranked& out) {
    ScratchArray<float> scores(rows.size());
    ScratchArray<std::int32_t> scored(query.one_for_all() ? 0 : rows.size());
    std::size_t n = 0;
    score_rows(g, query, rows, [&](std::size_t, std::size_t some, const std::int32_t* of, const float* found) {
        if (query.one_for_all()) {
            std::copy_n(found, some, &scores[n]);
            n += some;
            return;
        }
        for (std::size_t i = 0; i < some; ++i) {
            scores[n] = found[i];
            scored[n] = of[i];
            n += of[i] >= 0;
        }
    });
    const std::size_t k = std::min(out.scores.size(), n);
    if (k == 0) return 0;
    const std::int32_t* row_of = query.one_for_all() ? rows.data() : &scored[0];
    const std::size_t room = n + kSelectionPadding;
    ScratchArray<std::uint64_t> keys(room);
    ScratchArray<std::uint64_t> spare(room);
    const std::uint32_t above = reached_by(&scores[0], n, k) - 1;
    const std::size_t kept = kernels().select_scores(&scores[0], nullptr, n, 0, above, &keys[0]);
    struct Work {
        std::int64_t id;
        std::int64_t row;
    };
    ScratchArray<Work> works(kept);
    const Pages<std::int64_t> ids = g.ids.pages();
    for (std::size_t i = 0; i < kept; ++i) {
        const auto ahead = static_cast<std::uint32_t>(keys[std::min(i + kAhead, kept - 1)]);
        __builtin_prefetch(ids.at(static_cast<std::size_t>(row_of[ahead])));
        const std::int32_t row = row_of[static_cast<std::uint32_t>(keys[i])];
        works[i] = {.id = *ids.at(static_cast<std::size_t>(row)), .row = row};
        keys[i] = (keys[i] & ~std::uint64_t{0xFFFFFFFF}) | i;
    }
    sort_by_score(keys, spare, kept);
    for (std::size_t rank = 0; rank < k; ++rank) {
        const Work& work = works[static_cast<std::uint32_t>(keys[rank])];
        out.scores[rank] = score_from_ordered(static_cast<std::uint32_t>(keys[rank] >> 32));
        out.rows[rank] = static_cast<std::int32_t>(work.row);
        out.positions[rank] = work.row;
        out.ids[rank] = work.id;
    }
    return k;
}

}  // namespace karec
