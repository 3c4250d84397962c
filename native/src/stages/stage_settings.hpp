// Settings of the steps of exported stages: the file of `karec export stage` (docs/formats.md).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "karec/status.hpp"
#include "stages/fusion.hpp"

namespace karec {

// Keys and effects are those of the steps in karec/steps/.
struct IndexRowsStep {};
struct HasEmbeddingStep {};
struct NotShownStep {};
struct QuotaStep {
    std::string column;
    std::size_t at_most = 0;  // ≥ 1
};
struct InnerProductStep {
    std::size_t k = 0;  // ≥ 1
    std::vector<QuotaStep> at_most;
    std::size_t min_items = 0;  // ≤ k
};
struct FreshnessStep {
    double weight = 0.0;
    double half_life_hours = 24.0;
};
struct ToneStep {
    std::string column;
    double at_least = 0.0;
};
struct RankerStep {};
// Weights have the sum 1; a task without one has the weight 0.
struct TaskWeight {
    std::string task;
    double weight = 0.0;
};
struct FusionStep {
    FusionKind kind = FusionKind::sum;
    std::vector<TaskWeight> weights;
};
struct TopKStep {
    std::optional<std::size_t> k;  // nullopt: the request's
};
// Multiplies the q of items whose `column` has `value` by `factor` ≥ 0.
struct TrafficWeight {
    std::string column;
    std::int64_t value = 0;
    double factor = 1.0;
};
// Items with the same value of an integer `column` are similar by `weight` ≥ 0. A value below 0 means none.
struct FacetWeight {
    std::string column;
    double weight = 0.0;
};
struct DppStep {
    std::optional<std::size_t> k;  // nullopt: the request's
    double diversity = 0.5;
    double ridge = 1e-2;
    double type_weight = 0.0;
    std::optional<std::size_t> window;
    std::string types = "type";  // the integer column of type_weight, max_per_type and min_per_type
    std::optional<std::size_t> max_per_type;
    std::size_t min_per_type = 0;
    std::vector<TrafficWeight> weights;
    // Applied to rows of the bundle's own model version, by vector_statistics.npz.
    bool centre = false;
    double whiten = 0.0;
    std::vector<FacetWeight> facets;
};
struct ValuePair {
    std::int64_t first = 0;
    std::int64_t second = 0;
};
struct PageRule {
    std::string column;
    std::optional<std::size_t> window;  // nullopt: the whole session
    std::size_t max_count = 1;
    std::vector<std::int64_t> values;  // empty: all
    std::vector<ValuePair> apart;      // not empty: instead of max_count
};
struct PageRulesStep {
    std::optional<std::size_t> k;  // nullopt: the request's
    std::vector<PageRule> rules;
};

using StepSettings = std::variant<IndexRowsStep, HasEmbeddingStep, NotShownStep, InnerProductStep, FreshnessStep,
                                  ToneStep, QuotaStep, RankerStep, FusionStep, TopKStep, DppStep, PageRulesStep>;

struct StageStep {
    std::string stage;  // name of its stage
    std::string name;
    StepSettings settings;
};

struct StageSettings {
    std::string scene;
    std::vector<StageStep> steps;  // of all stages, in order

    template <class Settings>
    bool has_step() const noexcept {
        return std::ranges::any_of(
            steps, [](const StageStep& step) { return std::holds_alternative<Settings>(step.settings); });
    }

    // io_error: the file cannot be read. bad_format, with step and key: it is not JSON, lacks a key, has an unknown
    // step or key, a value of another type or a number out of range.
    static Result<StageSettings> read(const std::string& path);
};

}  // namespace karec
