#include "features/numbers.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "base/fixed_math.hpp"

namespace karec {
namespace {

constexpr double kPriorWeight = 10.0;
constexpr float kLogCountScale = 0.25f;  // ln(1 + a counter) runs from 0 to about 12
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// ln x of any double.
double log_of(double x) noexcept {
    if (!(x >= 0.0)) return kNan;
    return x == kInfinity ? x : fixed_log(x);
}

}  // namespace

double fixed_log1p(double x) noexcept {
    const double sum = 1.0 + x;
    if (!(sum > 0.0) || sum == kInfinity) return log_of(sum);
    return fixed_log(sum) + (x - (sum - 1.0)) / sum;  // the second term corrects the rounding of 1 + x
}

float NumberScale::operator()(double x) const noexcept {
    if (log) x = fixed_log1p(x < 0.0 ? 0.0 : x);
    const double scaled = (x - mean) / scale;
    if (std::isnan(scaled)) return 0.0f;
    return static_cast<float>(std::clamp(scaled, -8.0, 8.0));
}

double log_hours(std::int64_t moment, std::int64_t time_ms) noexcept {
    if (moment <= 0) return kNan;
    const auto age =
        static_cast<std::int64_t>(static_cast<std::uint64_t>(time_ms) - static_cast<std::uint64_t>(moment));
    return fixed_log1p(static_cast<double>(std::max<std::int64_t>(age, 0)) / static_cast<double>(kHourMs));
}

void counter_numbers(std::span<const float> counts, std::span<const double> priors, std::span<float> out) noexcept {
    if (counts.empty()) return;
    const double exposed = static_cast<double>(counts[0]);
    out[0] = static_cast<float>(fixed_log1p(exposed)) * kLogCountScale;
    for (std::size_t i = 1; i < counts.size(); ++i) {
        const double positives = static_cast<double>(counts[i]);
        const double prior = priors[i - 1];
        const double others = exposed - positives;
        const double negatives = others < 0.0 ? 0.0 : others;
        const double odds = (positives / prior + kPriorWeight) / (negatives / (1.0 - prior) + kPriorWeight);
        out[i] = static_cast<float>(log_of(odds));
    }
}

}  // namespace karec
