#include "karec/ecosystem.hpp"

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
#include "kernels/isa_table.hpp"

namespace karec {
namespace {

constexpr double kHourMs = 3'600'000.0;

template <class T>
T value_at(const Column& column, std::size_t i) noexcept {
    T value;
    std::memcpy(&value, column.bytes.data() + i * sizeof(T), sizeof(T));
    return value;
}
template <>
float value_at<float>(const Column& column, std::size_t i) noexcept {
    if (column.dtype == DType::float16) return half_to_float(value_at<std::uint16_t>(column, i));
    float value;
    std::memcpy(&value, column.bytes.data() + i * sizeof(float), sizeof(float));
    return value;
}

// body(T{}) with the type that holds the column's values: float for float16.
template <class Body>
void of_type(DType dtype, Body&& body) {
    switch (dtype) {
        case DType::int8:
            return body(std::int8_t{});
        case DType::int16:
            return body(std::int16_t{});
        case DType::int32:
            return body(std::int32_t{});
        case DType::int64:
            return body(std::int64_t{});
        case DType::uint8:
        case DType::boolean:
            return body(std::uint8_t{});
        case DType::uint16:
            return body(std::uint16_t{});
        case DType::uint32:
            return body(std::uint32_t{});
        case DType::uint64:
            return body(std::uint64_t{});
        case DType::float16:
        case DType::float32:
            return body(float{});
        case DType::float64:
            return body(double{});
    }
}

template <class T>
bool is_nan(T value) noexcept {
    if constexpr (std::is_floating_point_v<T>) return std::isnan(value);
    return false;
}

bool floating(DType dtype) noexcept {
    return dtype == DType::float16 || dtype == DType::float32 || dtype == DType::float64;
}

double age_hours(std::int64_t now_ms, std::int64_t then_ms) noexcept {
    std::int64_t age = 0;
    if (__builtin_sub_overflow(now_ms, then_ms, &age))
        return static_cast<double>(now_ms) > 0.0 ? 0x1p63 / kHourMs : 0.0;
    return static_cast<double>(std::max<std::int64_t>(age, 0)) / kHourMs;
}

// at_least as the column's type sees it, so that 0.7 in a float32 column passes a floor of 0.7.
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
        if (Status status = check_column(upload_ms, scores.size()); !status.ok()) return status;
        if (Status status = check_lengths("scores", scores.size(), "out", out.size()); !status.ok()) return status;
        if (floating(upload_ms.dtype)) return Status::invalid("moments are whole milliseconds: an integer column");
        if (!std::isfinite(weight)) return Status::invalid("weight must be finite, got " + std::to_string(weight));
        if (!(half_life_hours > 0.0)) {
            return Status::invalid("half_life_hours must be positive, got " + std::to_string(half_life_hours));
        }
        ScratchVector<double> boosts(scores.size());
        of_type(upload_ms.dtype, [&]<class T>(T) {
            for (std::size_t i = 0; i < boosts.size(); ++i) {
                // NOLINTNEXTLINE(bugprone-signed-char-misuse): int8 is a number here
                const auto then = static_cast<std::int64_t>(value_at<T>(upload_ms, i));
                boosts[i] = -(age_hours(now_ms, then) / half_life_hours) * std::numbers::ln2;
            }
        });
        diversity_kernels().exps(boosts.data(), boosts.size(), boosts.data());
        for (std::size_t i = 0; i < scores.size(); ++i) {
            out[i] = static_cast<float>(static_cast<double>(scores[i]) + weight * boosts[i]);
        }
        return {};
    });
}

Status tone(const Column& values, double at_least, std::span<std::uint8_t> keep) noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_column(values, keep.size()); !status.ok()) return status;
        of_type(values.dtype, [&]<class T>(T) {
            for (std::size_t i = 0; i < keep.size(); ++i) {
                keep[i] = reaches(value_at<T>(values, i), at_least, values.dtype) ? 1 : 0;
            }
        });
        return {};
    });
}

Status quota(std::span<const float> scores, const Column& groups, std::size_t at_most,
             std::span<std::uint8_t> keep) noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_column(groups, scores.size()); !status.ok()) return status;
        if (Status status = check_lengths("scores", scores.size(), "keep", keep.size()); !status.ok()) return status;
        if (scores.size() > std::numeric_limits<std::uint32_t>::max()) {
            return Status::invalid("a quota takes at most 2^32 − 1 items, got " + std::to_string(scores.size()));
        }
        // Copied, so that scores do not change while they are sorted, whoever writes to the caller's array.
        const ScratchVector<float> own(scores.begin(), scores.end());
        if (Status status = check_finite(own, "scores"); !status.ok()) return status;
        if (at_most == 0) return Status::invalid("at_most must be positive, got 0");
        ScratchVector<std::uint32_t> order;
        of_type(groups.dtype, [&]<class T>(T) {
            ScratchVector<T> group(scores.size());
            for (std::size_t i = 0; i < group.size(); ++i) {
                group[i] = value_at<T>(groups, i);
                keep[i] = 1;
                if (!is_nan(group[i])) order.push_back(static_cast<std::uint32_t>(i));
            }
            std::ranges::sort(order, [&](std::uint32_t a, std::uint32_t b) {
                if (group[a] != group[b]) return group[a] < group[b];
                return own[a] != own[b] ? own[a] > own[b] : a < b;
            });
            std::size_t place = 0;
            for (std::size_t i = 0; i < order.size(); ++i) {
                place = i > 0 && group[order[i]] == group[order[i - 1]] ? place + 1 : 0;
                keep[order[i]] = place < at_most ? 1 : 0;
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
