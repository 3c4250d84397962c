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

ItemEncoder::ItemEncoder(const UserEncoder& users) : tables_(users.tables_) {
    const EncoderFile& encoder = tables_->encoder;
    const std::vector<std::string>& categories = encoder.works.categories;
    for (std::size_t i = 0; i < categories.size(); ++i) {
        const std::size_t column = i + 1;  // after the item's own id
        if (categories[i] == kCreator) creator_ = column;
        if (std::ranges::find(encoder.users.categories, categories[i]) != encoder.users.categories.end()) {
            shared_.push_back(column);
        }
    }
    Shares shares;
    const CrossInputs crosses = shared_inputs(shares);
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
    const EncoderFile& encoder = tables_->encoder;
    const TableCoder& works = encoder.works;
    const std::size_t n_categories = works.vocabularies.size();
    const std::size_t n_numbers = works.n_numbers();
    items.ids.assign(ids.size() * n_categories, 0);
    items.numbers.assign(ids.size() * n_numbers, 0.0f);
    items.cowatch.assign(ids.size(), 0);
    ScratchVector<float> counts(works.counters.size());
    for (std::size_t n = 0; n < ids.size(); ++n) {
        const std::int64_t row = tables_->works.ids.find_row(ids[n]);
        if (row < 0) continue;
        encode_categories(works, tables_->works, ids[n], row,
                          std::span(items.ids).subspan(n * n_categories, n_categories));
        read_counters(tables_->works.counters, row, counts);
        encode_numbers(works, tables_->works, row, time_ms, counts,
                       std::span(items.numbers).subspan(n * n_numbers, n_numbers));
        items.cowatch[n] = encoder.cowatch.known_code(ids[n]);
    }
}

CrossInputs ItemEncoder::shared_inputs(Shares& shares) const {
    const EncoderFile& encoder = tables_->encoder;
    shares.assign(encoder.shares.begin(), encoder.shares.end());
    CrossInputs in;
    in.n_users = 1;
    in.n_categories = encoder.works.vocabularies.size();
    in.has_creators = creator_ > 0;
    in.creator = creator_;
    in.shared = shared_;
    in.vectors = encoder.cowatch_vectors;
    in.dim = encoder.cowatch_dim;
    in.als = encoder.als();
    in.affinities.rates = encoder.rates;
    in.affinities.shares = shares;
    in.has_positions = encoder.has_positions;
    return in;
}

CrossInputs ItemEncoder::user_inputs(const EncodedUser& user, Shares& shares) const {
    CrossInputs in = shared_inputs(shares);
    in.history = codes_of(user, "history");
    in.skipped = codes_of(user, "skipped");
    in.follows = codes_of(user, "follows");
    in.friends = codes_of(user, "friends");
    in.alike = codes_of(user, "alike");
    in.history_cowatch = codes_of(user, "history_cowatch");
    in.skipped_cowatch = codes_of(user, "skipped_cowatch");
    in.affinities.history = codes_of(user, "affinity_history");
    in.affinities.skipped = codes_of(user, "affinity_skipped");
    return in;
}

Status ItemEncoder::encode_crosses(const EncodedUser& user, EncodedItems& items) const {
    Shares shares;
    CrossInputs in = user_inputs(user, shares);
    in.n_items = items.cowatch.size();
    in.items = items.ids;
    in.cowatch = items.cowatch;
    items.crosses.resize(in.n_items * in.width());
    return compute_crosses(in, items.crosses);
}

Status ItemEncoder::find_categories(std::span<const std::string> names, const CrossWeights& weights,
                                    std::vector<std::size_t>& categories) const {
    categories.clear();
    for (const std::string& name : names) {
        const auto& known = tables_->encoder.works.categories;
        const auto found = std::ranges::find(known, name);
        if (found == known.end()) return Status::bad_format("items have no category '" + name + "'");
        categories.push_back(1 + static_cast<std::size_t>(found - known.begin()));  // after the item's own id
    }
    Shares shares;
    const CrossInputs in = shared_inputs(shares);
    for (const std::size_t column : weights.columns) {
        if (std::ranges::find(categories, in.category_of(column)) != categories.end()) continue;
        return Status::bad_format("column " + std::to_string(column) + " of the crosses is of no code column");
    }
    return {};
}

ScratchVector<CrossTable> ItemEncoder::compute_tables(const EncodedUser& user, const CrossWeights& weights,
                                                      std::span<const std::size_t> categories) const {
    Shares shares;
    return compute_cross_tables(user_inputs(user, shares), weights, categories);
}

void ItemEncoder::encode_dense(const EncodedUser& user, EncodedItems& items) const {
    const EncoderFile& encoder = tables_->encoder;
    const auto user_ids = codes_of(user, "user_ids");
    const auto context = codes_of(user, "context");
    const std::size_t n_contexts[] = {encoder.scenes.size() + 1, kHours, kWeekdays};
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
