// Numbers of model inputs: scaled columns, ages, log counts and smoothed rates.
//
// Everything is computed in float64 by IEEE additions, multiplications and divisions alone, and rounded to float32
// once: the same bits on every machine.
#pragma once

#include <cstdint>
#include <span>

namespace karec {

inline constexpr std::int64_t kHourMs = 3'600'000;

// ln(1 + x); NaN below −1.
double fixed_log1p(double x) noexcept;

// x → (x − mean) / scale, of ln(1 + x) where `log`.
struct NumberScale {
    bool log = false;
    double mean = 0.0;
    double scale = 1.0;

    // NaN gives the mean, 0; results are cut at ±8.
    float operator()(double x) const noexcept;
};

// ln(1 + hours) from `moment` to `time_ms`, not below 0; NaN where the moment is not known (≤ 0).
double log_hours(std::int64_t moment, std::int64_t time_ms) noexcept;

// A log count and log odds of smoothed rates, as karec/features/table.py defines them. `counts` (1 + labels):
// exposures, then positives by label; `priors` (labels) lie between 0 and 1; `out` is as long as counts, which may be
// empty.
void counter_numbers(std::span<const float> counts, std::span<const double> priors, std::span<float> out) noexcept;

}  // namespace karec
