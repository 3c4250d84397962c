#include "features/stored_encoder.hpp"

#include <algorithm>

namespace karec {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kLongestHistory = 100'000;

std::vector<std::string> counters_of(const std::vector<std::string>& labels) {
    std::vector<std::string> columns;
    if (!labels.empty()) columns.emplace_back("count_exposed");
    for (const std::string& label : labels) columns.push_back("count_" + label);
    return columns;
}

Result<TableCoder> table_coder(JsonValue encoder, const NpyArrays& arrays, const std::string& name, bool own_id) {
    const auto head = stored_part(encoder, name);
    if (!head.ok()) return head.status();
    const auto has_own = stored_flag(head.value(), "own_id");
    if (!has_own.ok()) return has_own.status();
    if (has_own.value() != own_id) return Status::bad_format("its " + name + (own_id ? " lack" : " have") + " own ids");
    auto categories = stored_texts(head.value(), "categories");
    if (!categories.ok()) return categories.status();
    const auto counted = stored_texts(head.value(), "counted");
    if (!counted.ok()) return counted.status();
    auto numbers = stored_scales(head.value(), "numbers");
    if (!numbers.ok()) return numbers.status();
    auto moments = stored_scales(head.value(), "moments");
    if (!moments.ok()) return moments.status();
    auto priors = stored_rates(head.value()["priors"], "priors", counted->size());
    if (!priors.ok()) return priors.status();
    TableCoder coder;
    for (std::size_t i = 0; i < categories->size() + (own_id ? 1 : 0); ++i) {
        auto vocabulary = stored_vocabulary(arrays, name + "." + std::to_string(i));
        if (!vocabulary.ok()) return vocabulary.status();
        coder.vocabularies.push_back(std::move(vocabulary.value()));
    }
    coder.categories = std::move(categories.value());
    coder.numbers = std::move(numbers.value());
    coder.moments = std::move(moments.value());
    coder.counters = counters_of(counted.value());
    coder.priors = std::move(priors.value());
    return coder;
}

Status read_scene_counters(JsonValue head, StoredEncoder& to) {
    const auto tasks = stored_texts(head, "counted");
    if (!tasks.ok()) return tasks.status();
    const JsonValue rows = head["priors"];
    const std::size_t n_codes = to.scenes->size() + 1;
    if (!rows.is_list() || rows.size() != n_codes) {
        return Status::bad_format("the priors of the scene counters are not " + std::to_string(n_codes) + " rows");
    }
    for (const JsonValue row : rows) {
        const auto priors = stored_rates(row, "a row of the scene counters' priors", tasks->size());
        if (!priors.ok()) return priors.status();
        to.scene_priors.insert(to.scene_priors.end(), priors.value().begin(), priors.value().end());
    }
    to.scene_counters = counters_of(tasks.value());
    return {};
}

Status read_vocabulary(const NpyArrays& arrays, const std::string& name, std::optional<Vocabulary>& to) {
    auto vocabulary = stored_vocabulary(arrays, name);
    if (vocabulary.ok()) to = std::move(vocabulary.value());
    return vocabulary.status();
}

}  // namespace

const Vocabulary* TableCoder::of(std::string_view category) const noexcept {
    const auto at = std::ranges::find(categories, category);
    const std::size_t own = vocabularies.size() - categories.size();
    return at == categories.end() ? nullptr : &vocabularies[own + static_cast<std::size_t>(at - categories.begin())];
}

Result<StoredEncoder> StoredEncoder::read(std::span<const std::byte> npz) {
    const auto arrays = read_npz(npz);
    if (!arrays.ok()) return arrays.status();
    const auto json = read_head(arrays.value());
    if (!json.ok()) return json.status();
    const JsonValue head = json.value().root();
    if (head["format"].integer() != kFormat) {
        return Status::bad_format("another format, expected " + std::to_string(kFormat) + ". Train and publish again");
    }
    StoredEncoder encoder;
    const auto length = stored_whole(head, "history_length", 1, kLongestHistory);
    if (!length.ok()) return length.status();
    encoder.history_length = static_cast<std::size_t>(length.value());
    auto users = table_coder(head, arrays.value(), "users", false);
    if (!users.ok()) return users.status();
    encoder.users = std::move(users.value());
    auto works = table_coder(head, arrays.value(), "works", true);
    if (!works.ok()) return works.status();
    encoder.works = std::move(works.value());
    Status status = read_vocabulary(arrays.value(), "scenes", encoder.scenes);
    if (status.ok()) status = read_vocabulary(arrays.value(), "people", encoder.people);
    if (status.ok() && find_array(arrays.value(), "cowatch.works") != nullptr) {
        status = read_vocabulary(arrays.value(), "cowatch.works", encoder.cowatch);
    }
    if (!status.ok()) return status;
    const auto counters = stored_part(head, "scene_counters");
    if (!counters.ok()) return counters.status();
    if (status = read_scene_counters(counters.value(), encoder); !status.ok()) return status;
    return encoder;
}

}  // namespace karec
