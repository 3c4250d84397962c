#include "features/stored_head.hpp"

#include <algorithm>
#include <cmath>

namespace karec {
namespace {

Status refused(std::string_view name, const std::string& expected) {
    return Status::bad_format("its head: " + std::string(name) + " is missing or not " + expected);
}

bool is_real(const Json& value) noexcept {
    return value.kind == Json::Kind::number && std::fabs(value.number) < 1e300;
}

bool is_scale(const Json& row) noexcept {
    return row.kind == Json::Kind::list && row.list.size() == 4 && row.list[0].kind == Json::Kind::text &&
           row.list[1].kind == Json::Kind::boolean && is_real(row.list[2]) && is_real(row.list[3]) &&
           row.list[3].number > 0.0;
}

}  // namespace

Result<const Json*> stored_part(const Json& head, std::string_view name) {
    const Json* value = head.find(name);
    if (value != nullptr && value->kind == Json::Kind::object) return value;
    return refused(name, "an object");
}

Result<std::vector<std::string>> stored_texts(const Json& head, std::string_view name) {
    const Json* value = head.find(name);
    if (value == nullptr || value->kind != Json::Kind::list) return refused(name, "a list of distinct texts");
    std::vector<std::string> texts;
    for (const Json& each : value->list) {
        if (each.kind != Json::Kind::text || std::ranges::find(texts, each.text) != texts.end()) {
            return refused(name, "a list of distinct texts");
        }
        texts.push_back(each.text);
    }
    return texts;
}

Result<bool> stored_flag(const Json& head, std::string_view name) {
    const Json* value = head.find(name);
    if (value == nullptr || value->kind != Json::Kind::boolean) return refused(name, "true or false");
    return value->boolean;
}

Result<std::int64_t> stored_whole(const Json& head, std::string_view name, std::int64_t least, std::int64_t most) {
    const Json* value = head.find(name);
    if (value != nullptr && value->whole && *value->whole >= least && *value->whole <= most) return *value->whole;
    return refused(name, "a whole number in " + std::to_string(least) + " … " + std::to_string(most));
}

Result<std::vector<double>> stored_rates(const Json* value, const std::string& name, std::size_t n) {
    const auto is_rate = [](const Json& each) { return is_real(each) && each.number > 0.0 && each.number < 1.0; };
    if (value == nullptr || value->kind != Json::Kind::list || value->list.size() != n ||
        !std::ranges::all_of(value->list, is_rate)) {
        return refused(name, std::to_string(n) + " numbers between 0 and 1");
    }
    std::vector<double> rates;
    rates.reserve(value->list.size());
    for (const Json& each : value->list) rates.push_back(each.number);
    return rates;
}

Result<std::vector<std::pair<std::string, NumberScale>>> stored_scales(const Json& head, std::string_view name) {
    const Json* value = head.find(name);
    if (value == nullptr || value->kind != Json::Kind::list || !std::ranges::all_of(value->list, is_scale)) {
        return refused(name, "rows [name, log, mean, scale] with scale above 0");
    }
    std::vector<std::pair<std::string, NumberScale>> scales;
    for (const Json& row : value->list) {
        const NumberScale scale{row.list[1].boolean, row.list[2].number, row.list[3].number};
        scales.emplace_back(row.list[0].text, scale);
    }
    return scales;
}

const NpyArray* find_array(const StoredArrays& arrays, std::string_view name) noexcept {
    for (const auto& [held, array] : arrays) {
        if (held == name) return &array;
    }
    return nullptr;
}

Result<Vocabulary> stored_vocabulary(const StoredArrays& arrays, const std::string& name) {
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
