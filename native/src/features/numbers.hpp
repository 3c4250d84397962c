// Numbers of model inputs: scaled columns, ages, log counts and smoothed rates.
//
// Bits  float64 additions, multiplications and divisions of IEEE 754, rounded to float32 once: equal on every machine.
#pragma once

#include <cstdint>
#include <span>

namespace karec {

inline constexpr std::int64_t kHourMs = 3'600'000;

// ln(1 + x); NaN below −1.
double fixed_log1p(double x) noexcept;

// Maps x to (x − mean) / scale, or ln(1 + x) if `log`.
struct NumberScale {
    bool log = false;
    double mean = 0.0;
    double scale = 1.0;

    // 0 for NaN; clipped at ±8.
    float operator()(double x) const noexcept;
};

// ln(1 + hours) from `moment` to `time_ms`, at least 0; NaN if the moment is unknown (≤ 0).
double log_hours(std::int64_t moment, std::int64_t time_ms) noexcept;

// Writes a log count and log odds of smoothed rates, as karec/features/table.py defines them. `counts` (1 + labels):
// impressions, then positives by label; may be empty. `priors` (labels): between 0 and 1. `out`: as long as counts.
void counter_numbers(std::span<const float> counts, std::span<const double> priors, std::span<float> out) noexcept;

}  // namespace karec
