#include "features/item_encoder.hpp"

#include <algorithm>
#include <string>

#include "base/checks.hpp"
#include "features/crosses.hpp"

namespace karec {
namespace {

constexpr std::string_view kCreator = "creator_id";
constexpr std::size_t kHours = 25;  // codes of the hour in `context`, and of the weekday
constexpr std::size_t kWeekdays = 8;

std::size_t width_of(const TensorSpec& spec) noexcept {
    return spec.shape.size() > 1 ? static_cast<std::size_t>(spec.shape[1]) : 1;
}

// Codes that a model has no embedding for become 0.
float to_dense(std::int64_t code, std::size_t n_codes) noexcept {
    return code < static_cast<std::int64_t>(n_codes) ? static_cast<float>(code) : 0.0f;
}

}  // namespace

struct ItemEncoder::Columns {
    std::vector<StoredColumn> numbers;
    std::vector<StoredColumn> moments;
    std::vector<StoredColumn> counters;
    std::vector<float> vectors;  // (K + 1, dim) co-watch vectors; empty without any
    std::size_t dim = 0;

    Status open(const Bundle& bundle, const UserTables& tables, bool verify) {
        const auto add = [&](const std::string& name, Holds holds, std::vector<StoredColumn>& to) -> Status {
            auto column = open_column(bundle, "snapshot/works/" + name + ".npy", holds, tables.works.size(), verify);
            if (column.ok()) to.push_back(std::move(column.value()));
            return column.status();
        };
        const TableCoder& works = tables.encoder.works;
        Status status;
        for (const auto& [name, scale] : works.numbers) {
            if (status.ok()) status = add(name, Holds::floats, numbers);
        }
        for (const auto& [name, scale] : works.moments) {
            if (status.ok()) status = add(name, Holds::integers, moments);
        }
        for (const std::string& name : works.counters) {
            if (status.ok()) status = add(name, Holds::floats, counters);
        }
        return status.ok() && tables.encoder.cowatch ? read_vectors(bundle, tables.encoder.cowatch->size() + 1)
                                                     : status;
    }

    Status read_vectors(const Bundle& bundle, std::size_t n_rows) {
        const auto path = bundle.file("encoder.npz", false);  // the user encoder has verified it
        if (!path.ok()) return path.status();
        const auto file = MappedFile::open(path.value());
        if (!file.ok()) return file.status();
        const auto arrays = read_npz(file->bytes());
        if (!arrays.ok()) return arrays.status();
        const NpyArray* array = find_array(arrays.value(), "cowatch.vectors");
        const bool fits = array != nullptr && array->dtype == DType::float32 && array->shape.size() == 2 &&
                          array->shape[0] == n_rows && array->shape[1] > 0;
        if (!fits) {
            return Status::bad_format(path.value() + ": table 'cowatch.vectors' is missing or not float32 (" +
                                      std::to_string(n_rows) + ", D)");
        }
        dim = array->shape[1];
        vectors.resize(n_rows * dim);
        for (std::size_t i = 0; i < vectors.size(); ++i) vectors[i] = array->at<float>(i);
        const Status status = check_finite(vectors, "table 'cowatch.vectors'");
        return status.ok() ? status : Status::bad_format(path.value() + ": " + status.message());
    }
};

Result<ItemEncoder> ItemEncoder::open(const Bundle& bundle, const UserEncoder& users, bool verify) {
    ItemEncoder encoder(users.tables_);
    auto columns = std::make_shared<Columns>();
    if (Status status = columns->open(bundle, *encoder.tables_, verify); !status.ok()) return status;
    encoder.columns_ = std::move(columns);
    encoder.describe();
    return encoder;
}

void ItemEncoder::describe() {
    const StoredEncoder& encoder = tables_->encoder;
    const std::vector<std::string>& categories = encoder.works.categories;
    for (std::size_t i = 0; i < categories.size(); ++i) {
        const std::size_t column = i + 1;  // behind the item's own id
        if (categories[i] == kCreator) creator_ = column;
        if (std::ranges::find(encoder.users.categories, categories[i]) != encoder.users.categories.end()) {
            shared_.push_back(column);
        }
    }
    CrossInputs crosses;
    crosses.n_categories = encoder.works.vocabularies.size();
    crosses.has_creators = creator_ > 0;
    crosses.shared = shared_;
    crosses.dim = columns_->dim;
    const auto n_numbers = static_cast<std::int64_t>(encoder.works.n_numbers());
    const auto n_categories = static_cast<std::int64_t>(crosses.n_categories);
    const auto n_crosses = static_cast<std::int64_t>(crosses.width());
    std::int64_t n_dense = n_categories + n_numbers + n_crosses;
    for (const TensorSpec& output : tables_->outputs) {
        if (output.name == "user_ids" || output.name == "context" || output.name == "user_numbers") {
            n_dense += output.shape[1];
        }
    }
    outputs_ = {{"item_ids", DType::int64, {-1, n_categories}},
                {"item_numbers", DType::float32, {-1, n_numbers}},
                {"cowatch", DType::int64, {-1}},
                {"crosses", DType::float32, {-1, n_crosses}},
                {"dense", DType::float32, {-1, n_dense}}};
}

std::span<const std::int64_t> ItemEncoder::codes_of(const EncodedUser& user, std::string_view output) const noexcept {
    std::size_t begin = 0;
    for (const TensorSpec& spec : tables_->outputs) {
        std::size_t n = 1;
        for (const std::int64_t size : spec.shape) n *= static_cast<std::size_t>(size);
        if (spec.name == output) return std::span(user.codes).subspan(begin, n);
        if (spec.dtype == DType::int64) begin += n;
    }
    return {};
}

Status ItemEncoder::encode(std::span<const std::int64_t> ids, std::int64_t time_ms, const EncodedUser& user,
                           bool has_dense, EncodedItems& items) const {
    encode_columns(ids, time_ms, items);
    Status status = encode_crosses(user, items);
    if (status.ok() && has_dense) encode_dense(user, items);
    return status;
}

void ItemEncoder::encode_columns(std::span<const std::int64_t> ids, std::int64_t time_ms, EncodedItems& items) const {
    const StoredEncoder& encoder = tables_->encoder;
    const TableCoder& works = encoder.works;
    const std::size_t n_categories = works.vocabularies.size();
    const std::size_t n_numbers = works.n_numbers();
    items.ids.assign(ids.size() * n_categories, 0);
    items.numbers.assign(ids.size() * n_numbers, 0.0f);
    items.cowatch.assign(ids.size(), 0);
    ScratchVector<float> counts(columns_->counters.size());
    for (std::size_t n = 0; n < ids.size(); ++n) {
        const std::int64_t found = tables_->works.row_of(ids[n]);
        if (found < 0) continue;
        const auto row = static_cast<std::size_t>(found);
        std::int64_t* const codes = items.ids.data() + n * n_categories;
        codes[0] = works.vocabularies[0].code(ids[n]);
        for (std::size_t i = 1; i < n_categories; ++i) {
            codes[i] = works.vocabularies[i].code(tables_->work_categories[i - 1].values.integer(row));
        }
        float* number = items.numbers.data() + n * n_numbers;
        for (std::size_t i = 0; i < columns_->numbers.size(); ++i) {
            *number++ = works.numbers[i].second(columns_->numbers[i].values.real(row));
        }
        for (std::size_t i = 0; i < columns_->moments.size(); ++i) {
            *number++ = works.moments[i].second(log_hours(columns_->moments[i].values.integer(row), time_ms));
        }
        for (std::size_t i = 0; i < counts.size(); ++i) {
            counts[i] = static_cast<float>(columns_->counters[i].values.real(row));
        }
        counter_numbers(counts, works.priors, {number, counts.size()});
        if (encoder.cowatch) items.cowatch[n] = encoder.cowatch->known_code(ids[n]);
    }
}

Status ItemEncoder::encode_crosses(const EncodedUser& user, EncodedItems& items) const {
    CrossInputs in;
    in.n_items = items.cowatch.size();
    in.n_users = 1;
    in.n_categories = tables_->encoder.works.vocabularies.size();
    in.history = codes_of(user, "history");
    in.skipped = codes_of(user, "skipped");
    in.items = items.ids;
    in.has_creators = creator_ > 0;
    in.creator = creator_;
    in.follows = codes_of(user, "follows");
    in.friends = codes_of(user, "friends");
    in.alike = codes_of(user, "alike");
    in.shared = shared_;
    in.vectors = columns_->vectors;
    in.dim = columns_->dim;
    in.history_cowatch = codes_of(user, "history_cowatch");
    in.skipped_cowatch = codes_of(user, "skipped_cowatch");
    in.cowatch = items.cowatch;
    items.crosses.resize(in.n_items * in.width());
    return crosses(in, items.crosses);
}

void ItemEncoder::encode_dense(const EncodedUser& user, EncodedItems& items) const {
    const StoredEncoder& encoder = tables_->encoder;
    const auto user_ids = codes_of(user, "user_ids");
    const auto context = codes_of(user, "context");
    const std::size_t n_contexts[] = {encoder.scenes->size() + 1, kHours, kWeekdays};
    const std::size_t n_categories = encoder.works.vocabularies.size();
    const std::size_t n_numbers = encoder.works.n_numbers();
    const std::size_t n_crosses = width_of(outputs_[3]);
    items.dense.clear();
    items.dense.reserve(items.cowatch.size() * width_of(outputs_[4]));
    for (std::size_t n = 0; n < items.cowatch.size(); ++n) {
        for (std::size_t i = 0; i < user_ids.size(); ++i) {
            items.dense.push_back(to_dense(user_ids[i], encoder.users.vocabularies[i].size() + 1));
        }
        for (std::size_t i = 0; i < context.size(); ++i) {
            items.dense.push_back(to_dense(context[i], n_contexts[i]));
        }
        for (std::size_t i = 0; i < n_categories; ++i) {
            const std::size_t n_codes = encoder.works.vocabularies[i].size() + 1;
            items.dense.push_back(to_dense(items.ids[n * n_categories + i], n_codes));
        }
        const float* const numbers = items.numbers.data() + n * n_numbers;
        const float* const crosses = items.crosses.data() + n * n_crosses;
        items.dense.insert(items.dense.end(), user.numbers.begin(), user.numbers.end());
        items.dense.insert(items.dense.end(), numbers, numbers + n_numbers);
        items.dense.insert(items.dense.end(), crosses, crosses + n_crosses);
    }
}

}  // namespace karec
