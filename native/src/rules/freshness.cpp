#include "karec/freshness.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <string>
#include <type_traits>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/half.hpp"
#include "base/scratch.hpp"
#include "index/index_checks.hpp"
#include "karec/item_index.hpp"
#include "kernels/kernels.hpp"
#include "rules/column_values.hpp"

namespace karec {
namespace {

constexpr double kHourMs = 3'600'000.0;

bool is_floating(DType dtype) noexcept {
    return dtype == DType::float16 || dtype == DType::float32 || dtype == DType::float64;
}

double age_hours(std::int64_t now_ms, std::int64_t then_ms) noexcept {
    std::int64_t age = 0;
    if (__builtin_sub_overflow(now_ms, then_ms, &age))
        return static_cast<double>(now_ms) > 0.0 ? 0x1p63 / kHourMs : 0.0;
    return static_cast<double>(std::max<std::int64_t>(age, 0)) / kHourMs;
}

// Rounds at_least to the column's type, so that 0.7 in a float32 column passes a minimum of 0.7.
template <class T>
bool reaches(T value, double at_least, DType dtype) noexcept {
    if (dtype == DType::float32) return static_cast<float>(value) >= static_cast<float>(at_least);
    if (dtype == DType::float16) {
        return static_cast<float>(value) >= half_to_float(float_to_half(static_cast<float>(at_least)));
    }
    return static_cast<double>(value) >= at_least;
}

}  // namespace

Status freshness(std::span<const float> scores, const Column& upload_ms, std::int64_t now_ms, double weight,
                 double half_life_hours, std::span<float> out) noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_isa(); !status.ok()) return status;
        if (Status status = check_column(upload_ms, scores.size()); !status.ok()) return status;
        if (Status status = check_lengths("scores", scores.size(), "out", out.size()); !status.ok()) return status;
        if (is_floating(upload_ms.dtype))
            return Status::invalid("upload_ms is a column of floats, expected integers: milliseconds");
        if (!std::isfinite(weight)) return Status::invalid("weight must be finite, got " + std::to_string(weight));
        if (!(half_life_hours > 0.0)) {
            return Status::invalid("half_life_hours must be positive, got " + std::to_string(half_life_hours));
        }
        ScratchVector<double> boosts(scores.size());
        with_type(upload_ms.dtype, [&]<class T>(T) {
            for (std::size_t i = 0; i < boosts.size(); ++i) {
                // NOLINTNEXTLINE(bugprone-signed-char-misuse): int8 is a number here
                const auto then = static_cast<std::int64_t>(value_at<T>(upload_ms, i));
                boosts[i] = -(age_hours(now_ms, then) / half_life_hours) * std::numbers::ln2;
            }
        });
        kernels().exps(boosts.data(), boosts.size(), boosts.data());
        for (std::size_t i = 0; i < scores.size(); ++i) {
            out[i] = static_cast<float>(static_cast<double>(scores[i]) + weight * boosts[i]);
        }
        return {};
    });
}

Status tone(const Column& values, double at_least, std::span<std::uint8_t> mask) noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_column(values, mask.size()); !status.ok()) return status;
        with_type(values.dtype, [&]<class T>(T) {
            for (std::size_t i = 0; i < mask.size(); ++i) {
                mask[i] = reaches(value_at<T>(values, i), at_least, values.dtype) ? 1 : 0;
            }
        });
        return {};
    });
}

Status standardise(std::span<const float> scores, std::span<float> out) noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_lengths("scores", scores.size(), "out", out.size()); !status.ok()) return status;
        if (Status status = check_finite(scores, "scores"); !status.ok()) return status;
        const auto n = static_cast<double>(scores.size());
        double sum = 0.0;
        for (const float score : scores) sum += static_cast<double>(score);
        const double mean = scores.empty() ? 0.0 : sum / n;
        double squares = 0.0;
        for (const float score : scores)
            squares += (static_cast<double>(score) - mean) * (static_cast<double>(score) - mean);
        const double deviation = scores.empty() ? 0.0 : std::sqrt(squares / n);
        for (std::size_t i = 0; i < scores.size(); ++i) {
            const double centred = static_cast<double>(scores[i]) - mean;
            out[i] = static_cast<float>(deviation > 0.0 ? centred / deviation : centred);
        }
        return {};
    });
}

}  // namespace karec
