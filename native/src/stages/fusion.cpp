#include "stages/fusion.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "base/fixed_math.hpp"

namespace karec {
namespace {

constexpr double kEpsilon = 1e-6;  // the logarithm of a probability of 0 is finite
constexpr double kMaxLogit = 60.0;

double sigmoid(double logit) noexcept {
    if (std::isnan(logit)) return logit;
    const double x = std::clamp(logit, -kMaxLogit, kMaxLogit);
    const double power = fixed_exp(x < 0.0 ? x : -x);
    return (x < 0.0 ? power : 1.0) / (1.0 + power);
}

}  // namespace

void fuse_logits(std::span<const double> logits, std::span<const double> weights, FusionKind kind,
                 std::span<float> out) noexcept {
    const std::size_t n_tasks = weights.size();
    for (std::size_t i = 0; i < out.size(); ++i) {
        double sum = 0.0;
        for (std::size_t t = 0; t < n_tasks; ++t) {
            const double p = sigmoid(logits[i * n_tasks + t]);
            sum += weights[t] * (kind == FusionKind::sum ? p : fixed_log(p + kEpsilon));
        }
        // fixed_exp would take NaN as −inf. The sum is at most ln(1 + ε); fixed_exp is as accurate there as below 0.
        const double score = kind == FusionKind::sum || std::isnan(sum) ? sum : fixed_exp(sum);
        out[i] = static_cast<float>(score);
    }
}

}  // namespace karec
