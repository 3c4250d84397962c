#include "features/encoder_tables.hpp"

#include <algorithm>

#include "karec/item_index.hpp"

namespace karec {
namespace {

constexpr const char* kSceneCounters = "snapshot/user_scene_counters/";

std::vector<StoredColumn> read_columns(SnapshotReader& reader, const std::string& folder,
                                       const std::vector<std::string>& names, ColumnKind kind, std::size_t n_rows) {
    std::vector<StoredColumn> columns;
    columns.reserve(names.size());
    for (const std::string& name : names) columns.push_back(reader.read_column(folder + name + ".npy", kind, n_rows));
    return columns;
}

std::vector<std::string> names_of(const std::vector<std::pair<std::string, NumberScale>>& scales) {
    std::vector<std::string> names;
    names.reserve(scales.size());
    for (const auto& [name, scale] : scales) names.push_back(name);
    return names;
}

TableColumns read_table(SnapshotReader& reader, const std::string& folder, const TableCoder& coder) {
    TableColumns table;
    table.ids = reader.read_ids(folder + "ids.npy");
    const std::size_t n = table.ids.size();
    table.categories = read_columns(reader, folder, coder.categories, ColumnKind::integers, n);
    table.numbers = read_columns(reader, folder, names_of(coder.numbers), ColumnKind::floats, n);
    table.moments = read_columns(reader, folder, names_of(coder.moments), ColumnKind::moments, n);
    table.counters = read_columns(reader, folder, coder.counters, ColumnKind::counters, n);
    return table;
}

}  // namespace

Result<std::shared_ptr<const EncoderTables>> EncoderTables::open(const Bundle& bundle, bool verify) {
    if (Status status = check_isa(); !status.ok()) return status;
    for (const std::string name : {"encoder.npz", "snapshot/users/ids.npy", "snapshot/works/ids.npy"}) {
        if (bundle.has(name)) continue;
        return Status{Code::unavailable, bundle.path() + " has no " + name + ", which the user encoder needs"};
    }
    auto tables = std::make_shared<EncoderTables>();
    if (Status status = tables->read(bundle, verify); !status.ok()) return status;
    tables->describe_outputs();
    return std::shared_ptr<const EncoderTables>(std::move(tables));
}

Status EncoderTables::read(const Bundle& bundle, bool verify) {
    SnapshotReader reader(bundle, verify);
    const MappedFile file = reader.map_file("encoder.npz");
    if (!reader.status.ok()) return reader.status;
    auto read = EncoderFile::read(file.bytes());
    if (!read.ok()) return Status{read.status().code(), bundle.path() + "/encoder.npz: " + read.status().message()};
    encoder = std::move(read.value());
    scenes = reader.read_scenes();
    users = read_table(reader, "snapshot/users/", encoder.users);
    works = read_table(reader, "snapshot/works/", encoder.works);
    const auto is_counter = [](const std::string& name) { return name.starts_with(kSceneCounters); };
    if (std::ranges::any_of(bundle.names(), is_counter)) {
        std::size_t n_rows = 0;
        if (__builtin_mul_overflow(users.ids.size(), scenes.size(), &n_rows)) {
            return Status::bad_format(bundle.path() + "/snapshot/snapshot.json: too many scenes");
        }
        scene_counters = read_columns(reader, kSceneCounters, encoder.scene_counters, ColumnKind::counters, n_rows);
    }
    const std::pair<const char*, StoredLists*> lists[] = {
        {"history", &history}, {"skipped", &skipped}, {"follows", &follows}, {"friends", &friends}};
    for (const auto& [name, to] : lists) *to = reader.read_lists(name, users.ids.size());
    return reader.status;
}

void EncoderTables::describe_outputs() {
    for (const std::string& name : encoder.works.categories) {
        const auto found = std::ranges::find(encoder.users.categories, name);
        if (found == encoder.users.categories.end()) continue;
        const auto column = static_cast<std::size_t>(found - encoder.users.categories.begin());
        shared.emplace_back(&users.categories[column], encoder.works.find_vocabulary(name));
    }
    const auto length = static_cast<std::int64_t>(encoder.history_length);
    const auto n_categories = static_cast<std::int64_t>(encoder.works.vocabularies.size());
    const auto add = [this](const char* name, std::vector<std::int64_t> shape) {
        std::size_t n = 1;
        for (const std::int64_t size : shape) n *= static_cast<std::size_t>(size);
        n_codes += n;
        outputs.push_back({name, DType::int64, std::move(shape)});
    };
    add("user_id", {1, 1});
    add("user_ids", {1, static_cast<std::int64_t>(encoder.users.vocabularies.size())});
    add("history", {1, length, n_categories});
    add("skipped", {1, length, n_categories});
    add("context", {1, 3});
    add("alike", {1, static_cast<std::int64_t>(shared.size())});
    add("history_cowatch", {1, length});
    add("skipped_cowatch", {1, length});
    const auto affinity_length = static_cast<std::int64_t>(encoder.affinity_length());
    add("affinity_history", {1, affinity_length, n_categories});
    add("affinity_skipped", {1, affinity_length, n_categories});
    add("follows", {1, kMaxEdges});
    add("friends", {1, kMaxEdges});
    n_numbers = encoder.users.n_numbers() + 2 + encoder.scene_counters.size();
    outputs.push_back({"user_numbers", DType::float32, {1, static_cast<std::int64_t>(n_numbers)}});
}

std::int64_t EncoderTables::find_scene(std::string_view name) const noexcept {
    for (std::size_t code = scenes.size(); code-- > 0;) {
        if (scenes[code] == name) return static_cast<std::int64_t>(code);
    }
    return -1;
}

void read_counters(std::span<const StoredColumn> columns, std::int64_t row, std::span<float> to) noexcept {
    for (std::size_t i = 0; i < to.size(); ++i) {
        to[i] = row < 0 ? 0.0f : static_cast<float>(columns[i].values.real(static_cast<std::size_t>(row)));
    }
}

void encode_categories(const TableCoder& coder, const TableColumns& columns, std::int64_t id, std::int64_t row,
                       std::span<std::int64_t> out) noexcept {
    const std::size_t n_own = coder.vocabularies.size() - coder.categories.size();
    for (std::size_t i = 0; i < coder.vocabularies.size(); ++i) {
        const bool is_own = i < n_own;
        const auto at = static_cast<std::size_t>(row);
        const std::int64_t value = row < 0 ? -1 : is_own ? id : columns.categories[i - n_own].values.integer(at);
        out[i] = coder.vocabularies[i].code(value);
    }
}

void encode_numbers(const TableCoder& coder, const TableColumns& columns, std::int64_t row, std::int64_t time_ms,
                    std::span<const float> counts, std::span<float> out) noexcept {
    const auto at = static_cast<std::size_t>(row);
    float* to = out.data();
    for (std::size_t i = 0; i < coder.numbers.size(); ++i) {
        *to++ = row < 0 ? 0.0f : coder.numbers[i].second(columns.numbers[i].values.real(at));
    }
    for (std::size_t i = 0; i < coder.moments.size(); ++i) {
        const std::int64_t moment = row < 0 ? 0 : columns.moments[i].values.integer(at);
        *to++ = coder.moments[i].second(log_hours(moment, time_ms));
    }
    counter_numbers(counts, coder.priors, {to, counts.size()});
}

}  // namespace karec
