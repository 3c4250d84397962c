// Reads exported stages. read_keys() of a struct lists its keys, members and bounds.
#include "stages/stage_settings.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <limits>
#include <string_view>
#include <type_traits>

#include "base/json.hpp"
#include "base/regular_file.hpp"
#include "karec/dpp.hpp"

namespace karec {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr double kMaxNumber = std::numeric_limits<double>::max();
constexpr double kMaxFloat = std::numeric_limits<float>::max();
constexpr double kMinPositive = std::numeric_limits<double>::denorm_min();

// Each function reads the value of a key. Returns the reason of a failure, else an empty text.
std::string read_value(JsonValue json, std::string& to, double, double) {
    to = json.text().value_or("");
    return to.empty() ? "expected a string that is not empty" : "";
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
std::string read_value(JsonValue json, std::vector<T>& to, double min, double max);

// Reads the keys of an object into members, each key once. All keys are required; null means an empty optional.
class KeyReader {
  public:
    explicit KeyReader(JsonValue json) : json_(json) {}

    // Sets `member` by the key `name`; a number has the bounds min and max.
    template <class T>
    void operator()(std::string_view name, T& member, double min = 0.0, double max = kMaxNumber) {
        names_.push_back(name);
        if (!status_.ok()) return;
        const JsonValue value = json_[name];
        const std::string reason = value.is_missing() ? "missing" : read_value(value, member, min, max);
        if (!reason.empty()) refuse(name, reason);
    }

    // The first error. A key that was not read is an error.
    Status finish() {
        for (const JsonValue member : json_) {
            const bool is_known = std::ranges::find(names_, member.name()) != names_.end();
            if (status_.ok() && !is_known) refuse(member.name(), "unknown to this library");
        }
        return status_;
    }

  private:
    void refuse(std::string_view name, const std::string& reason) {
        status_ = Status::bad_format("key '" + std::string(name) + "': " + reason);
    }

    JsonValue json_;
    std::vector<std::string_view> names_;
    Status status_;
};

void read_keys(KeyReader& key, QuotaStep& step) {
    key("column", step.column);
    key("at_most", step.at_most, 1.0);
}
void read_keys(KeyReader& key, InnerProductStep& step) {
    key("k", step.k, 1.0);
    key("at_most", step.at_most);
    key("min_items", step.min_items);
}
void read_keys(KeyReader& key, FreshnessStep& step) {
    key("weight", step.weight, -kMaxNumber);
    key("half_life_hours", step.half_life_hours, kMinPositive);
}
void read_keys(KeyReader& key, ToneStep& step) {
    key("column", step.column);
    key("at_least", step.at_least, -kMaxNumber);
}
void read_keys(KeyReader& key, TaskWeight& weight) {
    key("task", weight.task);
    key("weight", weight.weight, 0.0, 1.0);
}
void read_keys(KeyReader& key, FusionStep& step) {
    key("kind", step.kind);
    key("weights", step.weights);
}
void read_keys(KeyReader& key, TopKStep& step) {
    key("k", step.k, 1.0);
}
void read_keys(KeyReader& key, TrafficWeight& weight) {
    key("column", weight.column);
    key("value", weight.value);
    key("factor", weight.factor, 0.0, kMaxFloat);
}
void read_keys(KeyReader& key, FacetWeight& facet) {
    key("column", facet.column);
    key("weight", facet.weight, 0.0, 1.0);
}
void read_keys(KeyReader& key, DppStep& step) {
    key("k", step.k, 1.0);
    key("diversity", step.diversity, 0.0, 1.0);
    key("ridge", step.ridge, 0.0, kMaxRidge);
    key("type_weight", step.type_weight, 0.0, 1.0);
    key("window", step.window, 1.0);
    key("types", step.types);
    key("max_per_type", step.max_per_type, 1.0);
    key("min_per_type", step.min_per_type);
    key("weights", step.weights);
    key("centre", step.centre);
    key("whiten", step.whiten, 0.0, 1.0);
    key("facets", step.facets);
}
void read_keys(KeyReader& key, ValuePair& pair) {
    key("first", pair.first);
    key("second", pair.second);
}
void read_keys(KeyReader& key, PageRule& rule) {
    key("column", rule.column);
    key("window", rule.window, 2.0);
    key("max_count", rule.max_count, 1.0);
    key("values", rule.values);
    key("apart", rule.apart);
}
void read_keys(KeyReader& key, PageRulesStep& step) {
    key("k", step.k, 1.0);
    key("rules", step.rules);
}

template <class T>
std::string read_value(JsonValue json, std::vector<T>& to, double min, double max) {
    if (!json.is_list()) return "expected a list";
    for (const JsonValue element : json) {
        std::string reason;
        if constexpr (std::is_class_v<T>) {
            KeyReader key(element);
            read_keys(key, to.emplace_back());
            reason = key.finish().message();
        } else {
            reason = read_value(element, to.emplace_back(), min, max);
        }
        if (!reason.empty()) return reason;
    }
    return "";
}

// Steps without settings have only the keys of all steps.
template <class Step>
Status read_settings(JsonValue json, StepSettings& to) {
    KeyReader key(json);
    std::string text;
    key("use", text);
    key("name", text);
    Step& step = to.emplace<Step>();
    if constexpr (!std::is_empty_v<Step>) read_keys(key, step);
    return key.finish();
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
    if (const auto format = json["format"].integer(); format != kFormat) {
        return Status::bad_format("format is " + (format ? std::to_string(*format) : "missing or not an integer") +
                                  ", expected " + std::to_string(kFormat));
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
