#include "karec/stage_settings.hpp"

#include <algorithm>
#include <limits>
#include <string_view>

#include "base/boundary.hpp"
#include "base/regular_file.hpp"
#include "base/sealed_text.hpp"
#include "karec/dpp.hpp"

namespace karec {
namespace {

// Reads the fields of one line, each at most once. Keeps the first error.
class Fields {
  public:
    explicit Fields(const SealedLine& line) : line_(line) {}

    std::string text(std::string_view name) {
        const std::string* found = take(name);
        if (found == nullptr) fail("the key '" + std::string(name) + "' is missing");
        return found == nullptr ? "" : *found;
    }
    double number(std::string_view name, double least, double most) {
        const std::string found = text(name);
        return status_.ok() ? ranged(name, found, least, most) : 0.0;
    }
    std::optional<std::size_t> optional_count(std::string_view name) {
        const std::string* found = take(name);
        if (found == nullptr || !status_.ok()) return std::nullopt;
        auto value = whole_number(*found);
        if (value.ok() && value.value() >= 1) return static_cast<std::size_t>(value.value());
        fail(std::string(name) + " = " + *found + ", expected a whole number ≥ 1");
        return std::nullopt;
    }
    std::size_t count(std::string_view name) {
        const auto found = optional_count(name);
        if (!found) fail("the key '" + std::string(name) + "' is missing");
        return found.value_or(0);
    }
    // Every field "weights.COLUMN.VALUE".
    std::vector<TrafficWeight> traffic() {
        constexpr std::string_view kPrefix = "weights.";
        std::vector<TrafficWeight> found;
        for (const auto& [key, text] : line_.fields) {
            if (!key.starts_with(kPrefix)) continue;
            ++taken_;
            const std::size_t dot = key.rfind('.');
            auto value = whole_number(std::string_view(key).substr(dot + 1));
            if (!value.ok()) fail(value.status().message());
            if (dot <= kPrefix.size()) fail("the key '" + key + "' names no column");
            const double factor = ranged(key, text, 0.0, std::numeric_limits<double>::max());
            if (!status_.ok()) break;
            found.push_back({key.substr(kPrefix.size(), dot - kPrefix.size()), value.value(), factor});
        }
        return found;
    }
    // Every field "facets.COLUMN".
    std::vector<FacetWeight> facets() {
        constexpr std::string_view kPrefix = "facets.";
        std::vector<FacetWeight> found;
        for (const auto& [key, text] : line_.fields) {
            if (!key.starts_with(kPrefix)) continue;
            ++taken_;
            if (key.size() == kPrefix.size()) fail("the key '" + key + "' names no column");
            const double weight = ranged(key, text, 0.0, 1.0);
            if (!status_.ok()) break;
            found.push_back({key.substr(kPrefix.size()), weight});
        }
        return found;
    }
    double optional_number(std::string_view name, double least, double most) {
        const std::string* found = take(name);
        return found == nullptr || !status_.ok() ? 0.0 : ranged(name, *found, least, most);
    }
    std::string name(std::string_view otherwise) {
        const std::string* found = take("name");
        return found == nullptr ? std::string(otherwise) : *found;
    }
    // 16 hexadecimal digits, or nothing where the key is missing.
    std::string source() {
        const std::string* found = take("source");
        if (found == nullptr) return "";
        if (!hexadecimal(*found).ok()) fail("source = " + *found + ", expected 16 hexadecimal digits");
        return *found;
    }
    Status end() {
        if (status_.ok() && taken_ != line_.fields.size()) fail("a key that this library does not know");
        return status_;
    }

  private:
    const std::string* take(std::string_view name) {
        const std::string* found = line_.find(name);
        taken_ += found != nullptr;
        return found;
    }
    double ranged(std::string_view name, const std::string& text, double least, double most) {
        auto value = finite_number(text);
        if (value.ok() && value.value() >= least && value.value() <= most) return value.value();
        fail(std::string(name) + " = " + text + " is out of range");
        return 0.0;
    }
    void fail(const std::string& why) {
        if (status_.ok()) status_ = line_.refused(why);
    }

    const SealedLine& line_;
    std::size_t taken_ = 0;
    Status status_;
};

Result<StageStep> step_of(const SealedLine& line) {
    constexpr double kMost = std::numeric_limits<double>::max();
    Fields fields(line);
    StageStep step;
    step.name = fields.name(line.value);
    if (line.value == "index_rows") {
        step.what = IndexRowsStep{};
    } else if (line.value == "has_embedding") {
        step.what = HasEmbeddingStep{};
    } else if (line.value == "not_shown") {
        step.what = NotShownStep{};
    } else if (line.value == "inner_product") {
        step.what = InnerProductStep{fields.count("k")};
    } else if (line.value == "freshness") {
        const double weight = fields.number("weight", -kMost, kMost);
        const double half_life = fields.number("half_life_hours", std::numeric_limits<double>::denorm_min(), kMost);
        step.what = FreshnessStep{weight, half_life};
    } else if (line.value == "tone") {
        std::string column = fields.text("column");
        step.what = ToneStep{std::move(column), fields.number("at_least", -kMost, kMost)};
    } else if (line.value == "quota") {
        std::string column = fields.text("column");
        step.what = QuotaStep{std::move(column), fields.count("at_most")};
    } else if (line.value == "dpp") {
        DppStep dpp;
        dpp.k = fields.optional_count("k");
        dpp.diversity = fields.number("diversity", 0.0, 1.0);
        dpp.ridge = fields.number("ridge", 0.0, kMostRidge);
        dpp.type_weight = fields.number("type_weight", 0.0, 1.0);
        dpp.window = fields.optional_count("window");
        dpp.types = fields.text("types");
        dpp.max_per_type = fields.optional_count("max_per_type");
        dpp.min_per_type = fields.optional_count("min_per_type").value_or(0);
        dpp.weights = fields.traffic();
        dpp.centre = fields.optional_count("centre").has_value();
        dpp.whiten = fields.optional_number("whiten", 0.0, 1.0);
        dpp.facets = fields.facets();
        step.what = std::move(dpp);
    } else {
        return line.refused("this library knows no step '" + line.value + "'");
    }
    if (Status status = fields.end(); !status.ok()) return status;
    return step;
}

Result<StageSettings> settings_of(const std::vector<SealedLine>& lines) {
    StageSettings settings;
    for (const SealedLine& line : lines) {
        if (line.word == "scene" && settings.scene.empty() && !line.value.empty()) {
            Fields fields(line);
            settings.scene = line.value;
            settings.source = fields.source();
            if (Status status = fields.end(); !status.ok()) return status;
            continue;
        }
        if (line.word != "step") return line.refused("neither a step nor the one scene");
        auto step = step_of(line);
        if (!step.ok()) return step.status();
        settings.steps.push_back(std::move(step.value()));
    }
    if (settings.scene.empty()) return Status::bad_format("it names no scene");
    return settings;
}

// Whether a line is the head of a scene's table: [scenes.…] or [[scenes.…]].
bool is_karec_toml(std::string_view text) noexcept {
    while (!text.empty()) {
        std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
        if (line.starts_with("[scenes.") || line.starts_with("[[scenes.")) return true;
    }
    return false;
}

Result<StageSettings> parse_text(std::string_view text, bool named_toml) {
    auto lines = read_sealed_text(text, "karec-prerank");
    if (lines.ok()) return settings_of(lines.value());
    if (named_toml || is_karec_toml(text)) {
        return Status::bad_format("this is a karec.toml; export it with karec export stage");
    }
    return lines.status();
}

}  // namespace

Result<StageSettings> StageSettings::read(const std::string& path) noexcept {
    return at_boundary([&]() -> Result<StageSettings> {
        auto file = MappedFile::open(path);
        if (!file.ok()) return file.status();
        const auto bytes = file->bytes();
        const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        auto settings = parse_text(text, path.ends_with(".toml"));
        if (!settings.ok()) return Status{settings.status().code(), path + ": " + settings.status().message()};
        return settings;
    });
}

Result<StageSettings> StageSettings::parse(const std::string& text) noexcept {
    return at_boundary([&]() -> Result<StageSettings> { return parse_text(text, false); });
}

}  // namespace karec
