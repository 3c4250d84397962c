// Steps on the scores of a list: freshness boost, minimum tone, quotas by column, and standardised scores for a DPP.
//
// Threads    Functions are reentrant, run on the calling thread and never throw. A refused call leaves outputs
//            unchanged. Python calls the same functions. Results have the same bits on every instruction set. Do not
//            modify arrays during a call: results become undefined, but no access leaves the arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "karec/export.hpp"
#include "karec/item_index.hpp"
#include "karec/status.hpp"

namespace karec {

// out[i] = scores[i] + weight·2^(−age_i / half life), added in float64; ages in hours, 0 for an upload in the future.
// Refuses: lengths that differ, a column without integers, a weight that is not finite, a half life ≤ 0. O(N).
KAREC_API Status freshness(std::span<const float> scores, const Column& upload_ms, std::int64_t now_ms, double weight,
                           double half_life_hours, std::span<float> out) noexcept;

// mask[i] = 1 if the column's value is ≥ at_least, else 0, also for NaN. A floating column is compared in its own type,
// to which at_least is rounded; any other in float64. O(N).
KAREC_API Status tone(const Column& values, double at_least, std::span<std::uint8_t> mask) noexcept;

// mask[i] = 1 for the at_most best-scored items of each value of the column (ties by position), else 0; each NaN is a
// value of its own. Refuses: lengths that differ, scores that are not finite, N ≥ 2^32, at_most = 0. O(N log N).
KAREC_API Status quota(std::span<const float> scores, const Column& groups, std::size_t at_most,
                       std::span<std::uint8_t> mask) noexcept;

// out[i] = (scores[i] − mean) / deviation, computed in float64; all 0 if all scores are equal. Refuses lengths that
// differ and scores that are not finite. `out` may be `scores`. O(N).
KAREC_API Status standardise(std::span<const float> scores, std::span<float> out) noexcept;

}  // namespace karec
