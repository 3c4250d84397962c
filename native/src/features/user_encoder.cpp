// The user's side of one request: the same definitions as karec/features/encoder.py, on one row.
#include "karec/user_encoder.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/scratch.hpp"
#include "features/user_tables.hpp"

namespace karec {
namespace {

constexpr std::string_view kCreator = "creator_id";

constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) noexcept {
    return a / b - (a % b < 0 ? 1 : 0);
}
constexpr std::int64_t floor_mod(std::int64_t a, std::int64_t b) noexcept {
    return a - floor_div(a, b) * b;
}

// Fills the outputs from left to right.
template <class T>
class Filled {
  public:
    explicit Filled(std::span<T> all) noexcept : rest_(all) {}
    std::span<T> next(std::size_t n) noexcept {
        const auto part = rest_.first(n);
        rest_ = rest_.subspan(n);
        return part;
    }
    void put(T value) noexcept { next(1)[0] = value; }

  private:
    std::span<T> rest_;
};

// The works' codes of a list, newest first: out (H, categories), cowatch (H). How many works have a row.
std::size_t put_works(const UserTables& t, std::span<const std::int64_t> ids, std::span<std::int64_t> out,
                      std::span<std::int64_t> cowatch) noexcept {
    const std::size_t width = t.encoder.works.vocabularies.size();
    std::size_t known = 0;
    std::ranges::fill(out, 0);
    std::ranges::fill(cowatch, 0);
    for (std::size_t h = 0; h < ids.size(); ++h) {
        const std::int64_t row = t.works.row_of(ids[h]);
        if (row < 0) continue;
        ++known;
        const auto to = out.subspan(h * width, width);
        to[0] = t.encoder.works.vocabularies[0].code(ids[h]);
        for (std::size_t i = 1; i < width; ++i) {
            const std::int64_t value = t.work_categories[i - 1].values.integer(static_cast<std::size_t>(row));
            to[i] = t.encoder.works.vocabularies[i].code(value);
        }
        if (t.encoder.cowatch) cowatch[h] = t.encoder.cowatch->known_code(ids[h]);
    }
    return known;
}

// Numbers, ages and counters of the user with that row, −1: unknown. `counts` are the counters of encoder.users.
void put_numbers(const UserTables& t, std::int64_t row, std::int64_t time_ms, std::span<const float> counts,
                 Filled<float>& out) noexcept {
    const auto at = static_cast<std::size_t>(row);
    for (std::size_t i = 0; i < t.user_numbers.size(); ++i) {
        out.put(row < 0 ? 0.0f : t.encoder.users.numbers[i].second(t.user_numbers[i].values.real(at)));
    }
    for (std::size_t i = 0; i < t.user_moments.size(); ++i) {
        const std::int64_t moment = row < 0 ? 0 : t.user_moments[i].values.integer(at);
        out.put(t.encoder.users.moments[i].second(log_hours(moment, time_ms)));
    }
    counter_numbers(counts, t.encoder.users.priors, out.next(counts.size()));
}

// to = the host's counters of these names; `what` is the member that they come from.
Status counters_of(const UserState& user, const char* what, std::span<const float> given,
                   const std::vector<std::string>& names, ScratchVector<float>& to) {
    Status status = check_lengths(what, given.size(), "counter_names", user.counter_names.size());
    if (!status.ok()) return status;
    if (status = check_finite(given, what); !status.ok()) return status;
    for (const std::string& name : names) {
        const auto at = std::ranges::find(user.counter_names, name);
        if (at == user.counter_names.end()) {
            return Status::invalid("counter_names lack '" + name + "', which the encoder reads");
        }
        to.push_back(given[static_cast<std::size_t>(at - user.counter_names.begin())]);
        if (to.back() < 0.0f) return Status::invalid("the counter '" + name + "' is negative");
    }
    return {};
}

void put_user(const UserTables& t, const UserState& user, std::int64_t row, std::int64_t scene, std::int64_t time_ms,
              std::span<const float> counts, std::span<const float> in_scene, std::span<std::int64_t> codes,
              std::span<float> numbers) {
    Filled<std::int64_t> out(codes);
    const auto at = static_cast<std::size_t>(row);
    const std::size_t length = t.encoder.history_length;
    const std::size_t width = t.encoder.works.vocabularies.size();
    out.put(row < 0 ? 0 : t.encoder.people->code(user.user_id));
    for (std::size_t i = 0; i < t.user_categories.size(); ++i) {
        out.put(row < 0 ? 0 : t.encoder.users.vocabularies[i].code(t.user_categories[i].values.integer(at)));
    }
    ScratchVector<std::int64_t> ids(std::max(length, kMostEdges));
    const auto latest = [&](const auto& given, const std::optional<StoredLists>& lists, std::size_t n) {
        const auto to = std::span(ids).first(n);
        if (!given && row >= 0 && lists) {
            lists->latest(at, to);
            return std::span<const std::int64_t>(to);
        }
        const std::size_t many = given ? std::min(n, given->size()) : 0;
        for (std::size_t i = 0; i < many; ++i) to[i] = (*given)[given->size() - 1 - i];
        std::ranges::fill(to.subspan(many), -1);
        return std::span<const std::int64_t>(to);
    };
    const auto kept = out.next(length * width);
    const auto passed = out.next(length * width);
    const std::int64_t hours = floor_div(time_ms, kHourMs);
    out.put(scene);
    out.put(floor_mod(hours, 24) + 1);
    out.put(floor_mod(floor_div(hours, 24) + 3, 7) + 1);  // the first day of Unix time was a Thursday
    for (const auto& [column, vocabulary] : t.shared) {
        out.put(row < 0 ? 0 : vocabulary->code(column->values.integer(at)));
    }
    const std::size_t n_kept = put_works(t, latest(user.history, t.history, length), kept, out.next(length));
    const std::size_t n_passed = put_works(t, latest(user.skipped, t.skipped, length), passed, out.next(length));
    const Vocabulary* creators = t.encoder.works.of(kCreator);
    for (const auto* each : {&user.follows, &user.friends}) {
        const auto& lists = each == &user.follows ? t.follows : t.friends;
        for (const std::int64_t id : latest(*each, lists, kMostEdges)) {
            out.put(creators == nullptr ? 0 : creators->code(id));
        }
    }
    Filled<float> values(numbers);
    put_numbers(t, row, time_ms, counts, values);
    values.put(static_cast<float>(fixed_log1p(static_cast<double>(n_kept))));
    values.put(static_cast<float>(fixed_log1p(static_cast<double>(n_passed))));
    const std::size_t n_tasks = in_scene.empty() ? 0 : in_scene.size() - 1;
    const auto priors = std::span(t.encoder.scene_priors).subspan(static_cast<std::size_t>(scene) * n_tasks, n_tasks);
    counter_numbers(in_scene, priors, values.next(in_scene.size()));
}

Status encode_user(const UserTables& t, const UserState& user, std::string_view scene, std::int64_t time_ms,
                   std::span<std::int64_t> codes, std::span<float> numbers) {
    Status status = check_lengths("codes", codes.size(), "the encoder's codes", t.n_codes);
    if (!status.ok()) return status;
    status = check_lengths("numbers", numbers.size(), "the encoder's numbers", t.n_numbers);
    if (!status.ok()) return status;
    const std::int64_t row = t.users.row_of(user.user_id);
    const std::int64_t scene_code = t.head.scene_code(scene);
    const std::int64_t code = t.encoder.scenes->known_code(scene_code);
    ScratchVector<float> counts;
    ScratchVector<float> in_scene;
    if (!user.counter_names.empty() && user.counters.empty() && user.scene_counters.empty()) {
        return Status::invalid("counter_names are given, and neither counters nor scene_counters");
    }
    if (!user.counters.empty()) {
        status = counters_of(user, "counters", user.counters, t.encoder.users.counters, counts);
    } else {
        for (const StoredColumn& column : t.user_counters) {
            counts.push_back(row < 0 ? 0.0f : static_cast<float>(column.values.real(static_cast<std::size_t>(row))));
        }
    }
    if (status.ok() && !user.scene_counters.empty()) {
        status = counters_of(user, "scene_counters", user.scene_counters, t.encoder.scene_counters, in_scene);
    }
    if (!status.ok()) return status;
    const bool counted = user.scene_counters.empty() && row >= 0 && scene_code >= 0 && !t.scene_counters.empty();
    const std::size_t scene_row =
        counted ? static_cast<std::size_t>(row) * t.head.scenes.size() + static_cast<std::size_t>(scene_code) : 0;
    in_scene.resize(t.encoder.scene_counters.size());
    for (std::size_t i = 0; counted && i < in_scene.size(); ++i) {
        in_scene[i] = static_cast<float>(t.scene_counters[i].values.real(scene_row));
    }
    if (code == 0) std::ranges::fill(in_scene, 0.0f);  // a scene new to training
    put_user(t, user, row, code, time_ms, counts, in_scene, codes, numbers);
    return {};
}

}  // namespace

UserEncoder::UserEncoder(std::shared_ptr<const UserTables> tables) noexcept : tables_(std::move(tables)) {}

Result<UserEncoder> UserEncoder::open(const Bundle& bundle, bool verify) noexcept {
    return at_boundary([&]() -> Result<UserEncoder> {
        auto tables = UserTables::open(bundle, verify);
        if (!tables.ok()) return tables.status();
        return UserEncoder(std::move(tables.value()));
    });
}

std::span<const TensorSpec> UserEncoder::outputs() const noexcept {
    return tables_->outputs;
}
std::size_t UserEncoder::n_codes() const noexcept {
    return tables_->n_codes;
}
std::size_t UserEncoder::n_numbers() const noexcept {
    return tables_->n_numbers;
}

Status UserEncoder::encode(const UserState& user, std::string_view scene, std::int64_t time_ms,
                           std::span<std::int64_t> codes, std::span<float> numbers) const noexcept {
    return at_boundary([&] { return encode_user(*tables_, user, scene, time_ms, codes, numbers); });
}

}  // namespace karec
