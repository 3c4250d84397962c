// Assigns units to arms of experiments, by version 2 of GrowthBook's hash over UTF-8 bytes. Python's
// karec.experiments.assignment gives the same results. Any thread may call; no function throws.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::uint32_t kUnitBuckets = 10'000;

// The bucket of a unit: fnv32a of the decimal digits of fnv32a(seed + unit_id), modulo kUnitBuckets. O(bytes).
// invalid_argument: unit_id is empty.
KAREC_API Result<std::uint32_t> unit_bucket(std::string_view seed, std::string_view unit_id) noexcept;

// The position of the arm whose range contains the bucket, −1 if none does. The range of arm i starts at the sum of the
// weights before it and has the length coverage · weights[i]. O(arms).
KAREC_API int choose_arm(std::uint32_t bucket, std::span<const double> weights, double coverage) noexcept;

}  // namespace karec
