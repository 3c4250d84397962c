#include "features/stored_head.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace karec {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Status refused(std::string_view name, const std::string& expected) {
    return Status::bad_format("its head: " + std::string(name) + " is missing or not " + expected);
}

// Moderate, so that arithmetic on it does not overflow.
bool is_real(JsonValue value) noexcept {
    return std::fabs(value.number().value_or(kNan)) < 1e300;
}

bool is_rate(JsonValue value) noexcept {
    const double rate = value.number().value_or(0.0);
    return rate > 0.0 && rate < 1.0;
}

}  // namespace

Result<JsonValue> stored_part(JsonValue head, std::string_view name) {
    const JsonValue value = head[name];
    if (value.is_object()) return value;
    return refused(name, "an object");
}

Result<std::vector<std::string>> stored_texts(JsonValue head, std::string_view name) {
    std::vector<std::string> texts;
    bool is_valid = head[name].is_list();
    for (const JsonValue element : head[name]) {
        const auto text = element.text();
        is_valid = is_valid && text && std::ranges::find(texts, *text) == texts.end();
        texts.emplace_back(text.value_or(""));
    }
    if (is_valid) return texts;
    return refused(name, "a list of distinct texts");
}

Result<bool> stored_flag(JsonValue head, std::string_view name) {
    const auto flag = head[name].boolean();
    if (flag) return *flag;
    return refused(name, "true or false");
}

Result<std::int64_t> stored_whole(JsonValue head, std::string_view name, std::int64_t min, std::int64_t max) {
    const auto integer = head[name].integer();
    if (integer && *integer >= min && *integer <= max) return *integer;
    return refused(name, "an integer in " + std::to_string(min) + " … " + std::to_string(max));
}

Result<std::vector<double>> stored_rates(JsonValue value, const std::string& name, std::size_t n) {
    std::vector<double> rates;
    bool is_valid = value.is_list() && value.size() == n;
    for (const JsonValue rate : value) {
        is_valid = is_valid && is_rate(rate);
        rates.push_back(rate.number().value_or(0.0));
    }
    if (is_valid) return rates;
    return refused(name, std::to_string(n) + " numbers between 0 and 1");
}

Result<std::vector<std::pair<std::string, NumberScale>>> stored_scales(JsonValue head, std::string_view name) {
    std::vector<std::pair<std::string, NumberScale>> scales;
    bool is_valid = head[name].is_list();
    for (const JsonValue row : head[name]) {
        is_valid = is_valid && row.is_list() && row.size() == 4;
        if (!is_valid) break;
        auto value = row.begin();
        const auto column = (*value).text();
        const auto log = (*++value).boolean();
        const JsonValue mean = *++value;
        const JsonValue scale = *++value;
        is_valid = column && log && is_real(mean) && is_real(scale) && *scale.number() > 0.0;
        if (!is_valid) break;
        scales.emplace_back(*column, NumberScale{*log, *mean.number(), *scale.number()});
    }
    if (is_valid) return scales;
    return refused(name, "rows [name, log, mean, scale] with scale above 0");
}

Result<Vocabulary> stored_vocabulary(const NpyArrays& arrays, const std::string& name) {
    const NpyArray* array = find_array(arrays, name);
    if (array == nullptr) return Status::bad_format("it lacks the table '" + name + "'");
    if (array->shape.size() != 1 || (!array->is_integer() && array->size() > 0)) {
        return Status::bad_format("table '" + name + "' is not of one axis of integers");
    }
    std::vector<std::int64_t> keys(array->size());
    for (std::size_t k = 0; k < keys.size(); ++k) keys[k] = array->integer(k);
    auto vocabulary = Vocabulary::of(std::move(keys));
    if (!vocabulary.ok()) return Status::bad_format("table '" + name + "': " + vocabulary.status().message());
    return vocabulary;
}

}  // namespace karec
