#include "features/user_tables.hpp"

#include <algorithm>
#include <string>

namespace karec {
namespace {

constexpr const char* kSceneCounters = "snapshot/user_scene_counters/";

}  // namespace

UserTables::UserTables(StoredEncoder of_encoder, StoredHead of_head, StoredIds of_users, StoredIds of_works) noexcept
    : encoder(std::move(of_encoder)),
      head(std::move(of_head)),
      users(std::move(of_users)),
      works(std::move(of_works)) {}

Result<std::shared_ptr<const UserTables>> UserTables::open(const Bundle& bundle, bool verify) {
    for (const std::string name : {"encoder.npz", "snapshot/users/ids.npy", "snapshot/works/ids.npy"}) {
        if (has_file(bundle, name)) continue;
        return Status{Code::unavailable, bundle.path() + " has no " + name + ", which encoding a user needs"};
    }
    const auto path = bundle.file("encoder.npz", verify);
    if (!path.ok()) return path.status();
    const auto file = MappedFile::open(path.value());
    if (!file.ok()) return file.status();
    auto encoder = StoredEncoder::read(file->bytes());
    if (!encoder.ok()) return Status{encoder.status().code(), path.value() + ": " + encoder.status().message()};
    auto head = StoredHead::open(bundle, verify);
    if (!head.ok()) return head.status();
    auto users = StoredIds::open(bundle, "snapshot/users/ids.npy", verify);
    if (!users.ok()) return users.status();
    auto works = StoredIds::open(bundle, "snapshot/works/ids.npy", verify);
    if (!works.ok()) return works.status();
    auto tables = std::make_shared<UserTables>(std::move(encoder.value()), std::move(head.value()),
                                               std::move(users.value()), std::move(works.value()));
    if (Status status = tables->open_columns(bundle, verify); !status.ok()) return status;
    if (Status status = tables->open_lists(bundle, verify); !status.ok()) return status;
    tables->describe();
    return std::shared_ptr<const UserTables>(std::move(tables));
}

Status UserTables::open_columns(const Bundle& bundle, bool verify) {
    const auto all = [&](const std::string& folder, const auto& names, Holds holds, std::size_t rows,
                         std::vector<StoredColumn>& to) -> Status {
        for (const std::string& name : names) {
            auto column = open_column(bundle, folder + name + ".npy", holds, rows, verify);
            if (!column.ok()) return column.status();
            to.push_back(std::move(column.value()));
        }
        return {};
    };
    const auto names_of = [](const auto& scales) {
        std::vector<std::string> names;
        names.reserve(scales.size());
        for (const auto& [name, scale] : scales) names.push_back(name);
        return names;
    };
    const std::size_t n = users.size();
    const std::string own = "snapshot/users/";
    Status status = all(own, encoder.users.categories, Holds::integers, n, user_categories);
    if (status.ok()) status = all(own, names_of(encoder.users.numbers), Holds::floats, n, user_numbers);
    if (status.ok()) status = all(own, names_of(encoder.users.moments), Holds::integers, n, user_moments);
    if (status.ok()) status = all(own, encoder.users.counters, Holds::floats, n, user_counters);
    if (status.ok()) {
        status = all("snapshot/works/", encoder.works.categories, Holds::integers, works.size(), work_categories);
    }
    const auto counted = [&](const std::string& name) { return name.starts_with(kSceneCounters); };
    if (status.ok() && std::ranges::any_of(bundle.names(), counted)) {
        std::size_t rows = 0;
        if (__builtin_mul_overflow(n, head.scenes.size(), &rows)) return Status::bad_format("too many scenes");
        status = all(kSceneCounters, encoder.scene_counters, Holds::floats, rows, scene_counters);
    }
    return status;
}

Status UserTables::open_lists(const Bundle& bundle, bool verify) {
    const std::pair<const char*, std::optional<StoredLists>*> all[] = {
        {"history", &history}, {"skipped", &skipped}, {"follows", &follows}, {"friends", &friends}};
    for (const auto& [name, to] : all) {
        auto lists = StoredLists::open(bundle, name, users.size(), verify);
        if (!lists.ok()) return lists.status();
        *to = std::move(lists.value());
    }
    return {};
}

void UserTables::describe() {
    for (const std::string& name : encoder.works.categories) {
        const auto at = std::ranges::find(encoder.users.categories, name);
        if (at == encoder.users.categories.end()) continue;
        const auto column = static_cast<std::size_t>(at - encoder.users.categories.begin());
        shared.emplace_back(&user_categories[column], encoder.works.of(name));
    }
    const auto length = static_cast<std::int64_t>(encoder.history_length);
    const auto n_codes_of_work = static_cast<std::int64_t>(encoder.works.vocabularies.size());
    const auto output = [this](const char* name, std::vector<std::int64_t> shape) {
        std::size_t n = 1;
        for (const std::int64_t size : shape) n *= static_cast<std::size_t>(size);
        n_codes += n;
        outputs.push_back({name, DType::int64, std::move(shape)});
    };
    output("user_id", {1, 1});
    output("user_ids", {1, static_cast<std::int64_t>(encoder.users.vocabularies.size())});
    output("history", {1, length, n_codes_of_work});
    output("skipped", {1, length, n_codes_of_work});
    output("context", {1, 3});
    output("alike", {1, static_cast<std::int64_t>(shared.size())});
    output("history_cowatch", {1, length});
    output("skipped_cowatch", {1, length});
    output("follows", {1, kMostEdges});
    output("friends", {1, kMostEdges});
    n_numbers = encoder.users.n_numbers() + 2 + encoder.scene_counters.size();
    outputs.push_back({"user_numbers", DType::float32, {1, static_cast<std::int64_t>(n_numbers)}});
}

}  // namespace karec
