// Reads an exported stage. A table for each struct lists its keys, members and bounds; read_keys() does the rest.
#include "stages/stage_settings.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <limits>
#include <span>
#include <string_view>

#include "base/json.hpp"
#include "base/regular_file.hpp"
#include "karec/dpp.hpp"

namespace karec {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr double kMaxNumber = std::numeric_limits<double>::max();
constexpr double kMaxFloat = std::numeric_limits<float>::max();
constexpr double kMinPositive = std::numeric_limits<double>::denorm_min();

template <class Struct>
Status read_keys(JsonValue json, Struct& to, std::span<const std::string_view> other_keys);

// Each reads the value of a key and returns why it cannot; empty if it can.
std::string read_value(JsonValue json, std::string& to, double, double) {
    to = json.text().value_or("");
    return to.empty() ? "expected a text that is not empty" : "";
}

std::string read_value(JsonValue json, bool& to, double, double) {
    to = json.boolean().value_or(false);
    return json.boolean() ? "" : "expected true or false";
}

std::string read_value(JsonValue json, double& to, double min, double max) {
    to = json.number().value_or(0.0);
    if (json.number() && to >= min && to <= max) return "";
    char expected[80];
    std::snprintf(expected, sizeof expected, "expected a number in %g … %g", min, max);
    return expected;
}

std::string read_value(JsonValue json, std::int64_t& to, double, double) {
    to = json.integer().value_or(0);
    return json.integer() ? "" : "expected an integer";
}

std::string read_value(JsonValue json, std::size_t& to, double min, double) {
    const std::int64_t number = json.integer().value_or(-1);
    to = static_cast<std::size_t>(number);
    return static_cast<double>(number) >= min ? "" : min > 0.0 ? "expected an integer ≥ 1" : "expected an integer ≥ 0";
}

std::string read_value(JsonValue json, FusionKind& to, double, double) {
    to = json.text() == "product" ? FusionKind::product : FusionKind::sum;
    return json.text() == "product" || json.text() == "sum" ? "" : "expected sum or product";
}

template <class T>
std::string read_value(JsonValue json, std::optional<T>& to, double min, double max) {
    return json.is_null() ? "" : read_value(json, to.emplace(), min, max);
}

template <class T>
std::string read_value(JsonValue json, std::vector<T>& to, double min, double max) {
    if (!json.is_list()) return "expected a list";
    for (const JsonValue element : json) {
        std::string reason;
        if constexpr (std::is_class_v<T>) {
            reason = read_keys(element, to.emplace_back(), {}).message();
        } else {
            reason = read_value(element, to.emplace_back(), min, max);
        }
        if (!reason.empty()) return reason;
    }
    return "";
}

// A key of `Struct`, and the bounds of its number. All keys are required; null stands for an empty optional.
template <class Struct>
struct Key {
    std::string_view name;
    std::string (*read)(JsonValue json, Struct& to, double min, double max);
    double min = 0.0;
    double max = kMaxNumber;
};

template <auto kMember, class Struct>
std::string read_member(JsonValue json, Struct& to, double min, double max) {
    return read_value(json, to.*kMember, min, max);
}

template <class Struct>
constexpr std::span<const Key<Struct>> kKeys{};
constexpr Key<InnerProductStep> kInnerProduct[] = {{"k", read_member<&InnerProductStep::k>, 1.0}};
constexpr Key<FreshnessStep> kFreshness[] = {
    {"weight", read_member<&FreshnessStep::weight>, -kMaxNumber},
    {"half_life_hours", read_member<&FreshnessStep::half_life_hours>, kMinPositive},
};
constexpr Key<ToneStep> kTone[] = {
    {"column", read_member<&ToneStep::column>},
    {"at_least", read_member<&ToneStep::at_least>, -kMaxNumber},
};
constexpr Key<QuotaStep> kQuota[] = {
    {"column", read_member<&QuotaStep::column>},
    {"at_most", read_member<&QuotaStep::at_most>, 1.0},
};
constexpr Key<TaskWeight> kTaskWeight[] = {
    {"task", read_member<&TaskWeight::task>},
    {"weight", read_member<&TaskWeight::weight>, 0.0, 1.0},
};
constexpr Key<FusionStep> kFusion[] = {
    {"kind", read_member<&FusionStep::kind>},
    {"weights", read_member<&FusionStep::weights>},
};
constexpr Key<TopKStep> kTopK[] = {{"k", read_member<&TopKStep::k>, 1.0}};
constexpr Key<TrafficWeight> kTrafficWeight[] = {
    {"column", read_member<&TrafficWeight::column>},
    {"value", read_member<&TrafficWeight::value>},
    {"factor", read_member<&TrafficWeight::factor>, 0.0, kMaxFloat},
};
constexpr Key<FacetWeight> kFacetWeight[] = {
    {"column", read_member<&FacetWeight::column>},
    {"weight", read_member<&FacetWeight::weight>, 0.0, 1.0},
};
constexpr Key<DppStep> kDpp[] = {
    {"k", read_member<&DppStep::k>, 1.0},
    {"diversity", read_member<&DppStep::diversity>, 0.0, 1.0},
    {"ridge", read_member<&DppStep::ridge>, 0.0, kMostRidge},
    {"type_weight", read_member<&DppStep::type_weight>, 0.0, 1.0},
    {"window", read_member<&DppStep::window>, 1.0},
    {"types", read_member<&DppStep::types>},
    {"max_per_type", read_member<&DppStep::max_per_type>, 1.0},
    {"min_per_type", read_member<&DppStep::min_per_type>},
    {"weights", read_member<&DppStep::weights>},
    {"centre", read_member<&DppStep::centre>},
    {"whiten", read_member<&DppStep::whiten>, 0.0, 1.0},
    {"facets", read_member<&DppStep::facets>},
};
constexpr Key<ValuePair> kValuePair[] = {
    {"first", read_member<&ValuePair::first>},
    {"second", read_member<&ValuePair::second>},
};
constexpr Key<PageRule> kPageRule[] = {
    {"column", read_member<&PageRule::column>},
    {"window", read_member<&PageRule::window>, 2.0},
    {"max_count", read_member<&PageRule::max_count>, 1.0},
    {"values", read_member<&PageRule::values>},
    {"apart", read_member<&PageRule::apart>},
};
constexpr Key<PagePosition> kPagePosition[] = {
    {"places", read_member<&PagePosition::places>, 1.0}, {"item", read_member<&PagePosition::item>},
    {"column", read_member<&PagePosition::column>},      {"values", read_member<&PagePosition::values>},
    {"only", read_member<&PagePosition::only>},
};
constexpr Key<PageBoost> kPageBoost[] = {
    {"column", read_member<&PageBoost::column>},
    {"values", read_member<&PageBoost::values>},
    {"places", read_member<&PageBoost::places>, 1.0},
};
constexpr Key<PageRulesStep> kPageRules[] = {
    {"k", read_member<&PageRulesStep::k>, 1.0},
    {"rules", read_member<&PageRulesStep::rules>},
    {"positions", read_member<&PageRulesStep::positions>},
    {"boosts", read_member<&PageRulesStep::boosts>},
    {"max_boosted", read_member<&PageRulesStep::max_boosted>},
    {"max_places", read_member<&PageRulesStep::max_places>},
};
template <>
constexpr std::span<const Key<InnerProductStep>> kKeys<InnerProductStep>{kInnerProduct};
template <>
constexpr std::span<const Key<FreshnessStep>> kKeys<FreshnessStep>{kFreshness};
template <>
constexpr std::span<const Key<ToneStep>> kKeys<ToneStep>{kTone};
template <>
constexpr std::span<const Key<QuotaStep>> kKeys<QuotaStep>{kQuota};
template <>
constexpr std::span<const Key<TaskWeight>> kKeys<TaskWeight>{kTaskWeight};
template <>
constexpr std::span<const Key<FusionStep>> kKeys<FusionStep>{kFusion};
template <>
constexpr std::span<const Key<TopKStep>> kKeys<TopKStep>{kTopK};
template <>
constexpr std::span<const Key<TrafficWeight>> kKeys<TrafficWeight>{kTrafficWeight};
template <>
constexpr std::span<const Key<FacetWeight>> kKeys<FacetWeight>{kFacetWeight};
template <>
constexpr std::span<const Key<DppStep>> kKeys<DppStep>{kDpp};
template <>
constexpr std::span<const Key<ValuePair>> kKeys<ValuePair>{kValuePair};
template <>
constexpr std::span<const Key<PageRule>> kKeys<PageRule>{kPageRule};
template <>
constexpr std::span<const Key<PagePosition>> kKeys<PagePosition>{kPagePosition};
template <>
constexpr std::span<const Key<PageBoost>> kKeys<PageBoost>{kPageBoost};
template <>
constexpr std::span<const Key<PageRulesStep>> kKeys<PageRulesStep>{kPageRules};

// Sets the members of `to` by the keys of an object, which may also have `other_keys`.
template <class Struct>
Status read_keys(JsonValue json, Struct& to, std::span<const std::string_view> other_keys) {
    const std::span<const Key<Struct>> keys = kKeys<Struct>;
    const auto refused = [](std::string_view key, const std::string& reason) {
        return Status::bad_format("key '" + std::string(key) + "': " + reason);
    };
    for (const Key<Struct>& key : keys) {
        const JsonValue value = json[key.name];
        if (value.is_missing()) return refused(key.name, "missing");
        const std::string reason = key.read(value, to, key.min, key.max);
        if (!reason.empty()) return refused(key.name, reason);
    }
    for (const JsonValue member : json) {
        const bool is_known = std::ranges::find(keys, member.name(), &Key<Struct>::name) != keys.end() ||
                              std::ranges::find(other_keys, member.name()) != other_keys.end();
        if (!is_known) return refused(member.name(), "unknown to this library");
    }
    return {};
}

template <class Struct>
Status read_settings(JsonValue json, StepSettings& to) {
    constexpr std::string_view kOtherKeys[] = {"use", "name"};
    return read_keys(json, to.emplace<Struct>(), kOtherKeys);
}

struct StepReader {
    std::string_view use;
    Status (*read)(JsonValue json, StepSettings& to);
};
constexpr StepReader kSteps[] = {
    {"index_rows", read_settings<IndexRowsStep>},
    {"has_embedding", read_settings<HasEmbeddingStep>},
    {"not_shown", read_settings<NotShownStep>},
    {"inner_product", read_settings<InnerProductStep>},
    {"freshness", read_settings<FreshnessStep>},
    {"tone", read_settings<ToneStep>},
    {"quota", read_settings<QuotaStep>},
    {"ranker", read_settings<RankerStep>},
    {"fusion", read_settings<FusionStep>},
    {"top_k", read_settings<TopKStep>},
    {"dpp", read_settings<DppStep>},
    {"page_rules", read_settings<PageRulesStep>},
};

Status read_step(JsonValue json, StageStep& to) {
    const std::string use(json["use"].text().value_or(""));
    to.name = json["name"].text().value_or("");
    if (to.name.empty()) return Status::bad_format("a step has no name");
    const auto reader = std::ranges::find(kSteps, use, &StepReader::use);
    const bool is_known = reader != std::end(kSteps);
    const Status status = is_known ? reader->read(json, to.settings) : Status::bad_format("unknown step '" + use + "'");
    return status.ok() ? status : Status::bad_format("step '" + to.name + "': " + status.message());
}

Result<StageSettings> read_stages(JsonValue json) {
    if (json["format"].integer() != kFormat) {
        return Status::bad_format("another format, expected " + std::to_string(kFormat));
    }
    StageSettings settings;
    settings.scene = json["scene"].text().value_or("");
    if (settings.scene.empty() || !json["source"].text() || !json["stages"].is_list() || json.size() != 4) {
        return Status::bad_format("expected only the keys format, scene, source and stages");
    }
    for (const JsonValue stage : json["stages"]) {
        if (!stage["name"].text() || !stage["steps"].is_list() || stage.size() != 2) {
            return Status::bad_format("a stage has other keys than name and steps");
        }
        for (const JsonValue step : stage["steps"]) {
            StageStep& to = settings.steps.emplace_back();
            to.stage = *stage["name"].text();
            if (Status status = read_step(step, to); !status.ok()) return status;
        }
    }
    return settings;
}

}  // namespace

Result<StageSettings> StageSettings::read(const std::string& path) {
    const auto file = MappedFile::open(path);
    if (!file.ok()) return file.status();
    const auto json = Json::parse(file->bytes());
    auto settings = json.ok() ? read_stages(json->root()) : json.status();
    if (settings.ok()) return settings;
    return Status::bad_format(path + ": " + settings.status().message() + ". Write the file with karec export stage");
}

}  // namespace karec
