// Ecosystem control in prerank: freshness boost, a minimum of tone, quotas by column; and scores standardised for a
// DPP.
//
// Python's prerank calls these functions too, so that both sides give the same bits on every instruction set.
// Functions are reentrant, run on the calling thread and never throw. What they refuse leaves `out` and `keep` alone.
// Arrays must not change until a call returns: else its result is void, though it touches no memory outside them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "karec/export.hpp"
#include "karec/item_index.hpp"
#include "karec/status.hpp"

namespace karec {

// out[i] = scores[i] + weight·2^(−age_i / half life), added in float64; ages in hours, from milliseconds: a work of the
// future has age 0. Refuses: lengths that differ, a column that holds no integers, weight that is not finite, half life
// ≤ 0. O(N).
KAREC_API Status freshness(std::span<const float> scores, const Column& upload_ms, std::int64_t now_ms, double weight,
                           double half_life_hours, std::span<float> out) noexcept;

// keep[i] = 1 where the column's value is ≥ at_least, else 0; NaN is never. A floating column is compared in its own
// type, to which at_least is rounded; any other in float64. O(N).
KAREC_API Status tone(const Column& values, double at_least, std::span<std::uint8_t> keep) noexcept;

// keep[i] = 1 for the at_most best-scored items of each value of the column (ties by position), else 0; a NaN is a
// group of its own. Refuses: lengths that differ, scores that are not finite, N ≥ 2^32, at_most = 0. O(N log N).
KAREC_API Status quota(std::span<const float> scores, const Column& groups, std::size_t at_most,
                       std::span<std::uint8_t> keep) noexcept;

// out[i] = (scores[i] − mean) / deviation, computed in float64; all 0 where every score is the same. Refuses lengths
// that differ, scores that are not finite. `out` may be `scores`. O(N).
KAREC_API Status standardise(std::span<const float> scores, std::span<float> out) noexcept;

}  // namespace karec
