#include "features/encoder_file.hpp"

#include <algorithm>
#include <cmath>

#include "base/json.hpp"
#include "base/npy.hpp"

namespace karec {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kMaxHistory = 100'000;
constexpr double kMaxNumber = 1e300;  // of means and scales: arithmetic with them does not overflow

std::vector<std::string> to_counters(const std::vector<std::string>& labels) {
    std::vector<std::string> columns;
    if (!labels.empty()) columns.emplace_back("count_exposed");
    for (const std::string& label : labels) columns.push_back("count_" + label);
    return columns;
}

// Reads parts of an encoder. After the first error, which `status` has, the other results are not used.
class EncoderReader {
  public:
    EncoderReader(JsonValue head, const NpyArrays& arrays) noexcept : head_(head), arrays_(arrays) {}

    Status status;

    void read(EncoderFile& to) {
        if (head_["format"].integer() != kFormat) {
            status =
                Status::bad_format("another format, expected " + std::to_string(kFormat) + ". Train and publish again");
            return;
        }
        const std::int64_t length = head_["history_length"].integer().value_or(0);
        if (length < 1 || length > kMaxHistory) refuse("history_length", "an integer in 1 … 100000");
        to.history_length = static_cast<std::size_t>(length);
        to.users = read_table("users", false);
        to.works = read_table("works", true);
        to.scenes = read_vocabulary("scenes");
        to.people = read_vocabulary("people");
        read_scene_counters(to);
        if (find_array(arrays_, "cowatch.works") != nullptr) read_cowatch(to);
        to.has_positions = head_["has_positions"].boolean().value_or(false);
        if (status.ok()) read_affinities(to);
    }

  private:
    void refuse(std::string_view name, const std::string& expected) {
        if (status.ok()) status = Status::bad_format(std::string(name) + " is missing or not " + expected);
    }

    void read_affinities(EncoderFile& to) {
        if (find_array(arrays_, "affinities.rates") != nullptr) {
            read_positive("affinities.rates", to.works.vocabularies[0].size() + 1, to.rates);
        } else if (find_array(arrays_, "affinities.shares.0") != nullptr) {
            for (const Vocabulary& vocabulary : to.works.vocabularies) {
                const std::string name = "affinities.shares." + std::to_string(to.shares.size());
                read_positive(name, vocabulary.size() + 1, to.shares.emplace_back());
            }
        }
    }

    TableCoder read_table(const std::string& name, bool has_own_id) {
        const JsonValue head = head_[name];
        if (head["own_id"].boolean() != has_own_id) refuse(name + ".own_id", has_own_id ? "true" : "false");
        TableCoder coder;
        coder.categories = read_names(head, "categories");
        coder.numbers = read_scales(head, "numbers");
        coder.moments = read_scales(head, "moments");
        const std::vector<std::string> labels = read_names(head, "counted");
        coder.counters = to_counters(labels);
        read_rates(head["priors"], name + ".priors", labels.size(), coder.priors);
        const std::size_t n_vocabularies = coder.categories.size() + (has_own_id ? 1 : 0);
        for (std::size_t i = 0; i < n_vocabularies && status.ok(); ++i) {
            coder.vocabularies.push_back(read_vocabulary(name + "." + std::to_string(i)));
        }
        return coder;
    }

    std::vector<std::string> read_names(JsonValue head, std::string_view key) {
        std::vector<std::string> names;
        bool is_valid = head[key].is_list();
        for (const JsonValue element : head[key]) {
            const auto name = element.text();
            is_valid = is_valid && name && std::ranges::find(names, *name) == names.end();
            names.emplace_back(name.value_or(""));
        }
        if (!is_valid) refuse(key, "a list of distinct names");
        return names;
    }

    // Rows [name, log, mean, scale].
    std::vector<std::pair<std::string, NumberScale>> read_scales(JsonValue head, std::string_view key) {
        std::vector<std::pair<std::string, NumberScale>> scales;
        bool is_valid = head[key].is_list();
        for (const JsonValue row : head[key]) {
            is_valid = is_valid && row.is_list() && row.size() == 4;
            if (!is_valid) break;
            auto value = row.begin();
            const auto name = (*value).text();
            const auto log = (*++value).boolean();
            const auto mean = (*++value).number();
            const auto scale = (*++value).number();
            is_valid =
                name && log && mean && scale && std::fabs(*mean) < kMaxNumber && *scale > 0.0 && *scale < kMaxNumber;
            if (is_valid) scales.emplace_back(*name, NumberScale{*log, *mean, *scale});
        }
        if (!is_valid) refuse(key, "rows [name, log, mean, scale] with scale above 0");
        return scales;
    }

    // Appends n rates to `to`.
    void read_rates(JsonValue json, std::string_view name, std::size_t n, std::vector<double>& to) {
        bool is_valid = json.is_list() && json.size() == n;
        for (const JsonValue element : json) {
            const double rate = element.number().value_or(0.0);
            is_valid = is_valid && rate > 0.0 && rate < 1.0;
            to.push_back(rate);
        }
        if (!is_valid) refuse(name, std::to_string(n) + " numbers between 0 and 1");
    }

    void read_scene_counters(EncoderFile& to) {
        const JsonValue head = head_["scene_counters"];
        const std::vector<std::string> tasks = read_names(head, "counted");
        const JsonValue rows = head["priors"];
        const std::size_t n_codes = to.scenes.size() + 1;
        if (!rows.is_list() || rows.size() != n_codes) {
            return refuse("scene_counters.priors", std::to_string(n_codes) + " rows");
        }
        for (const JsonValue row : rows)
            read_rates(row, "a row of scene_counters.priors", tasks.size(), to.scene_priors);
        to.scene_counters = to_counters(tasks);
    }

    Vocabulary read_vocabulary(const std::string& name) {
        const NpyArray* array = find_array(arrays_, name);
        if (array == nullptr || array->shape.size() != 1 || (!array->is_integer() && array->size() > 0)) {
            refuse("table '" + name + "'", "integers of one axis");
            return {};
        }
        std::vector<std::int64_t> keys(array->size());
        for (std::size_t k = 0; k < keys.size(); ++k) keys[k] = array->integer(k);
        auto vocabulary = Vocabulary::from_keys(std::move(keys));
        if (vocabulary.ok()) return std::move(vocabulary.value());
        if (status.ok()) status = Status::bad_format("table '" + name + "': " + vocabulary.status().message());
        return {};
    }

    // Appends n numbers to `to`.
    void read_positive(const std::string& name, std::size_t n, std::vector<double>& to) {
        const NpyArray* array = find_array(arrays_, name);
        bool is_valid = array != nullptr && array->dtype == DType::float64 && array->shape == std::vector{n};
        for (std::size_t i = 0; is_valid && i < n; ++i) {
            to.push_back(array->at<double>(i));
            is_valid = to.back() > 0.0 && to.back() <= 1.0;
        }
        if (!is_valid) refuse("table '" + name + "'", std::to_string(n) + " float64 in (0, 1]");
    }

    void read_cowatch(EncoderFile& to) {
        to.cowatch = read_vocabulary("cowatch.works");
        const std::size_t n_rows = to.cowatch.size() + 1;
        const NpyArray* array = find_array(arrays_, "cowatch.vectors");
        const bool fits = array != nullptr && array->dtype == DType::float32 && array->shape.size() == 2 &&
                          array->shape[0] == n_rows && array->shape[1] > 0;
        if (!fits) return refuse("table 'cowatch.vectors'", "float32 (" + std::to_string(n_rows) + ", D)");
        to.cowatch_dim = array->shape[1];
        to.cowatch_vectors.resize(n_rows * to.cowatch_dim);
        for (std::size_t i = 0; i < to.cowatch_vectors.size(); ++i) to.cowatch_vectors[i] = array->at<float>(i);
        const bool is_finite = std::ranges::all_of(to.cowatch_vectors, [](float x) { return std::isfinite(x); });
        if (!is_finite) refuse("table 'cowatch.vectors'", "of finite numbers");
        if (find_array(arrays_, "cowatch.als") != nullptr) read_als(n_rows, to);
    }

    // The arrays hold all moments; the first is the newest.
    void read_als(std::size_t n_rows, EncoderFile& to) {
        const NpyArray* vectors = find_array(arrays_, "cowatch.als");
        const NpyArray* grams = find_array(arrays_, "cowatch.grams");
        if (vectors->dtype != DType::float32 || vectors->shape.size() != 3 || vectors->shape[0] == 0 ||
            vectors->shape[1] != n_rows || vectors->shape[2] == 0) {
            return refuse("table 'cowatch.als'", "float32 (M, " + std::to_string(n_rows) + ", F)");
        }
        const std::size_t n = vectors->shape[2];
        if (grams == nullptr || grams->dtype != DType::float64 ||
            grams->shape != std::vector{vectors->shape[0], n, n}) {
            return refuse("table 'cowatch.grams'", "float64 (M, F, F)");
        }
        to.als_dim = n;
        to.als_vectors.resize(n_rows * n);
        to.als_gram.resize(n * n);
        for (std::size_t i = 0; i < to.als_vectors.size(); ++i) to.als_vectors[i] = vectors->at<float>(i);
        for (std::size_t i = 0; i < to.als_gram.size(); ++i) to.als_gram[i] = grams->at<double>(i);
        const auto finite = [](auto x) { return std::isfinite(x); };
        if (!std::ranges::all_of(to.als_vectors, finite)) refuse("table 'cowatch.als'", "of finite numbers");
        if (!std::ranges::all_of(to.als_gram, finite)) refuse("table 'cowatch.grams'", "of finite numbers");
    }

    JsonValue head_;
    const NpyArrays& arrays_;
};

}  // namespace

const Vocabulary* TableCoder::find_vocabulary(std::string_view category) const noexcept {
    const auto found = std::ranges::find(categories, category);
    if (found == categories.end()) return nullptr;
    const std::size_t n_own = vocabularies.size() - categories.size();
    return &vocabularies[n_own + static_cast<std::size_t>(found - categories.begin())];
}

Result<EncoderFile> EncoderFile::read(std::span<const std::byte> npz) {
    const auto arrays = read_npz(npz);
    if (!arrays.ok()) return arrays.status();
    const auto head = read_head(arrays.value());
    if (!head.ok()) return head.status();
    EncoderReader reader(head.value().root(), arrays.value());
    EncoderFile encoder;
    reader.read(encoder);
    if (!reader.status.ok()) return reader.status;
    return encoder;
}

}  // namespace karec
