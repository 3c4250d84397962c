// Reads an exported stage. A table for each step lists its keys, members and bounds; read_step() does the rest.
#include "karec/stage_settings.hpp"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <span>
#include <string_view>

#include "base/boundary.hpp"
#include "base/json.hpp"
#include "base/regular_file.hpp"
#include "karec/dpp.hpp"

namespace karec {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr double kMaxNumber = std::numeric_limits<double>::max();
constexpr double kMinPositive = std::numeric_limits<double>::denorm_min();

// A key of `Struct`: the member that it sets, and the bounds of a number. All keys are required; null stands for an
// empty optional.
template <class Struct>
struct Key {
    std::string_view name;
    std::variant<std::string Struct::*, bool Struct::*, double Struct::*, std::size_t Struct::*, std::int64_t Struct::*,
                 std::optional<std::size_t> Struct::*, std::vector<TrafficWeight> Struct::*,
                 std::vector<FacetWeight> Struct::*>
        member;
    double min = 0.0;
    double max = kMaxNumber;
};

template <class Struct>
constexpr std::span<const Key<Struct>> kKeys{};

constexpr Key<InnerProductStep> kInnerProduct[] = {{"k", &InnerProductStep::k, 1.0}};
constexpr Key<FreshnessStep> kFreshness[] = {
    {"weight", &FreshnessStep::weight, -kMaxNumber},
    {"half_life_hours", &FreshnessStep::half_life_hours, kMinPositive},
};
constexpr Key<ToneStep> kTone[] = {{"column", &ToneStep::column}, {"at_least", &ToneStep::at_least, -kMaxNumber}};
constexpr Key<QuotaStep> kQuota[] = {{"column", &QuotaStep::column}, {"at_most", &QuotaStep::at_most, 1.0}};
constexpr Key<TrafficWeight> kTrafficWeight[] = {
    {"column", &TrafficWeight::column},
    {"value", &TrafficWeight::value},
    {"factor", &TrafficWeight::factor},
};
constexpr Key<FacetWeight> kFacetWeight[] = {
    {"column", &FacetWeight::column},
    {"weight", &FacetWeight::weight, 0.0, 1.0},
};
constexpr Key<DppStep> kDpp[] = {
    {"k", &DppStep::k, 1.0},
    {"diversity", &DppStep::diversity, 0.0, 1.0},
    {"ridge", &DppStep::ridge, 0.0, kMostRidge},
    {"type_weight", &DppStep::type_weight, 0.0, 1.0},
    {"window", &DppStep::window, 1.0},
    {"types", &DppStep::types},
    {"max_per_type", &DppStep::max_per_type, 1.0},
    {"min_per_type", &DppStep::min_per_type},
    {"weights", &DppStep::weights},
    {"centre", &DppStep::centre},
    {"whiten", &DppStep::whiten, 0.0, 1.0},
    {"facets", &DppStep::facets},
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
constexpr std::span<const Key<TrafficWeight>> kKeys<TrafficWeight>{kTrafficWeight};
template <>
constexpr std::span<const Key<FacetWeight>> kKeys<FacetWeight>{kFacetWeight};
template <>
constexpr std::span<const Key<DppStep>> kKeys<DppStep>{kDpp};

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

std::string read_value(JsonValue json, std::optional<std::size_t>& to, double min, double max) {
    return json.is_null() ? "" : read_value(json, to.emplace(), min, max);
}

template <class Struct>
Status read_keys(JsonValue json, Struct& to, std::span<const std::string_view> other_keys);

template <class Struct>
std::string read_value(JsonValue json, std::vector<Struct>& to, double, double) {
    if (!json.is_list()) return "expected a list";
    for (const JsonValue element : json) {
        if (Status status = read_keys(element, to.emplace_back(), {}); !status.ok()) return status.message();
    }
    return "";
}

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
        const auto read = [&](auto member) { return read_value(value, to.*member, key.min, key.max); };
        const std::string reason = std::visit(read, key.member);
        if (!reason.empty()) return refused(key.name, reason);
    }
    for (const JsonValue member : json) {
        const bool is_known = std::ranges::find(keys, member.name(), &Key<Struct>::name) != keys.end() ||
                              std::ranges::find(other_keys, member.name()) != other_keys.end();
        if (!is_known) return refused(member.name(), "unknown to this library");
    }
    return {};
}

using Step = decltype(StageStep::what);

template <class Struct>
Status read_step(JsonValue json, Step& to) {
    constexpr std::string_view kOtherKeys[] = {"use", "name"};
    return read_keys(json, to.emplace<Struct>(), kOtherKeys);
}

struct StepReader {
    std::string_view use;
    Status (*read)(JsonValue json, Step& to);
};
constexpr StepReader kSteps[] = {
    {"index_rows", read_step<IndexRowsStep>}, {"has_embedding", read_step<HasEmbeddingStep>},
    {"not_shown", read_step<NotShownStep>},   {"inner_product", read_step<InnerProductStep>},
    {"freshness", read_step<FreshnessStep>},  {"tone", read_step<ToneStep>},
    {"quota", read_step<QuotaStep>},          {"dpp", read_step<DppStep>},
};

Status read_step(JsonValue json, StageStep& to) {
    const std::string use(json["use"].text().value_or(""));
    to.name = json["name"].text().value_or("");
    if (to.name.empty()) return Status::bad_format("a step has no name");
    const auto reader = std::ranges::find(kSteps, use, &StepReader::use);
    const bool is_known = reader != std::end(kSteps);
    const Status status = is_known ? reader->read(json, to.what) : Status::bad_format("unknown step '" + use + "'");
    return status.ok() ? status : Status::bad_format("step '" + to.name + "': " + status.message());
}

Result<StageSettings> read_stage(JsonValue json) {
    if (json["format"].integer() != kFormat) {
        return Status::bad_format("another format, expected " + std::to_string(kFormat));
    }
    StageSettings settings;
    settings.scene = json["scene"].text().value_or("");
    settings.source = json["source"].text().value_or("");
    const JsonValue stages = json["stages"];
    if (settings.scene.empty() || settings.source.empty() || json.size() != 4) {
        return Status::bad_format("expected only the keys format, scene, source and stages");
    }
    if (!stages.is_list() || stages.size() != 1) return Status::bad_format("expected one stage");
    const JsonValue stage = *stages.begin();
    if (!stage["name"].text() || !stage["steps"].is_list() || stage.size() != 2) {
        return Status::bad_format("a stage has other keys than name and steps");
    }
    for (const JsonValue step : stage["steps"]) {
        if (Status status = read_step(step, settings.steps.emplace_back()); !status.ok()) return status;
    }
    return settings;
}

Result<StageSettings> parse_stage(std::string_view text) {
    const auto json = Json::parse(text);
    auto settings = json.ok() ? read_stage(json.value().root()) : json.status();
    if (settings.ok()) return settings;
    return Status::bad_format(settings.status().message() + ". Write the file with karec export stage");
}

}  // namespace

Result<StageSettings> StageSettings::read(const std::string& path) noexcept {
    return at_boundary([&]() -> Result<StageSettings> {
        const auto file = MappedFile::open(path);
        if (!file.ok()) return file.status();
        const auto bytes = file->bytes();
        auto settings = parse_stage({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
        if (!settings.ok()) return Status{settings.status().code(), path + ": " + settings.status().message()};
        return settings;
    });
}

Result<StageSettings> StageSettings::parse(const std::string& text) noexcept {
    return at_boundary([&] { return parse_stage(text); });
}

}  // namespace karec
