// Encodes the user of one request, by the definitions of karec/features/encoder.py.
#include "karec/user_encoder.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "base/scratch.hpp"
#include "features/encoder_tables.hpp"

namespace karec {
namespace {

constexpr std::string_view kCreator = "creator_id";

constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) noexcept {
    return a / b - (a % b < 0 ? 1 : 0);
}
constexpr std::int64_t floor_mod(std::int64_t a, std::int64_t b) noexcept {
    return a - floor_div(a, b) * b;
}

// Writes outputs one after the other.
template <class T>
class OutputWriter {
  public:
    explicit OutputWriter(std::span<T> outputs) noexcept : rest_(outputs) {}
    std::span<T> next(std::size_t n) noexcept {
        const auto part = rest_.first(n);
        rest_ = rest_.subspan(n);
        return part;
    }
    void put(T value) noexcept { next(1)[0] = value; }

  private:
    std::span<T> rest_;
};

// Writes the codes of works: out (L, categories), and cowatch (H) of the first H ≤ L. Returns how many of these H have
// a row.
std::size_t encode_works(const EncoderTables& t, std::span<const std::int64_t> ids, std::span<std::int64_t> out,
                         std::span<std::int64_t> cowatch) noexcept {
    const std::size_t width = t.encoder.works.vocabularies.size();
    std::size_t n_known = 0;
    std::ranges::fill(out, 0);
    std::ranges::fill(cowatch, 0);
    for (std::size_t h = 0; h < ids.size(); ++h) {
        const std::int64_t row = t.works.ids.find_row(ids[h]);
        if (row < 0) continue;
        encode_categories(t.encoder.works, t.works, ids[h], row, out.subspan(h * width, width));
        if (h >= cowatch.size()) continue;
        ++n_known;
        cowatch[h] = t.encoder.cowatch.known_code(ids[h]);
    }
    return n_known;
}

// Selects the host's counters with these names; `field` is the member of UserState that has them.
Status select_counters(const UserState& user, const char* field, std::span<const float> values,
                       const std::vector<std::string>& names, ScratchVector<float>& to) {
    Status status = check_lengths(field, values.size(), "counter_names", user.counter_names.size());
    if (!status.ok()) return status;
    if (status = check_finite(values, field); !status.ok()) return status;
    for (const std::string& name : names) {
        const auto found = std::ranges::find(user.counter_names, name);
        if (found == user.counter_names.end()) {
            return Status::invalid("counter_names lack '" + name + "', which the encoder reads");
        }
        to.push_back(values[static_cast<std::size_t>(found - user.counter_names.begin())]);
        if (to.back() < 0.0f) return Status::invalid("the counter '" + name + "' is negative");
    }
    return {};
}

// The counters of a user over all scenes and in the scene of the request.
struct UserCounters {
    ScratchVector<float> all;
    ScratchVector<float> in_scene;
};

// `scene`: its code in the snapshot; `is_known`: true if the encoder has it.
Status read_user_counters(const EncoderTables& t, const UserState& user, std::int64_t row, std::int64_t scene,
                          bool is_known, UserCounters& to) {
    if (!user.counter_names.empty() && user.counters.empty() && user.scene_counters.empty()) {
        return Status::invalid("counter_names are given, but counters and scene_counters are empty");
    }
    Status status;
    if (user.counters.empty()) {
        to.all.resize(t.users.counters.size());
        read_counters(t.users.counters, row, to.all);
    } else {
        status = select_counters(user, "counters", user.counters, t.encoder.users.counters, to.all);
    }
    if (status.ok() && !user.scene_counters.empty()) {
        status = select_counters(user, "scene_counters", user.scene_counters, t.encoder.scene_counters, to.in_scene);
    }
    if (!status.ok()) return status;
    to.in_scene.resize(t.encoder.scene_counters.size());
    if (user.scene_counters.empty() && !t.scene_counters.empty()) {
        const auto n_scenes = static_cast<std::int64_t>(t.scenes.size());
        read_counters(t.scene_counters, row < 0 || scene < 0 ? -1 : row * n_scenes + scene, to.in_scene);
    }
    if (!is_known) std::ranges::fill(to.in_scene, 0.0f);
    return {};
}

// `scene`: its code in the encoder.
void write_user(const EncoderTables& t, const UserState& user, std::int64_t row, std::int64_t scene,
                std::int64_t time_ms, const UserCounters& counters, std::span<std::int64_t> codes,
                std::span<float> numbers) {
    OutputWriter<std::int64_t> out(codes);
    const auto at = static_cast<std::size_t>(row);
    const std::size_t length = t.encoder.history_length;
    const std::size_t width = t.encoder.works.vocabularies.size();
    out.put(row < 0 ? 0 : t.encoder.people.code(user.user_id));
    encode_categories(t.encoder.users, t.users, user.user_id, row, out.next(t.users.categories.size()));
    const std::size_t affinity_length = t.encoder.affinity_length();
    ScratchVector<std::int64_t> ids(std::max({length, affinity_length, kMaxEdges}));
    // The last n ids of the host's list, else of the snapshot's, newest first, padded with −1.
    const auto read_latest = [&](const auto& given, const StoredLists& lists, std::size_t n) {
        const auto to = std::span(ids).first(n);
        const std::size_t n_given = given ? std::min(n, given->size()) : 0;
        for (std::size_t i = 0; i < n_given; ++i) to[i] = (*given)[given->size() - 1 - i];
        std::ranges::fill(to.subspan(n_given), -1);
        if (!given && row >= 0) lists.read_latest(at, to);
        return std::span<const std::int64_t>(to);
    };
    const auto history = out.next(length * width);
    const auto skipped = out.next(length * width);
    const std::int64_t hours = floor_div(time_ms, kHourMs);
    out.put(scene);
    out.put(floor_mod(hours, 24) + 1);
    out.put(floor_mod(floor_div(hours, 24) + 3, 7) + 1);  // the first day of Unix time was a Thursday
    for (const auto& [column, vocabulary] : t.shared) {
        out.put(row < 0 ? 0 : vocabulary->code(column->values.integer(at)));
    }
    const std::size_t n_history =
        encode_works(t, read_latest(user.history, t.history, length), history, out.next(length));
    const std::size_t n_skipped =
        encode_works(t, read_latest(user.skipped, t.skipped, length), skipped, out.next(length));
    for (const auto& [given, lists] : {std::pair(&user.history, &t.history), std::pair(&user.skipped, &t.skipped)}) {
        encode_works(t, read_latest(*given, *lists, affinity_length), out.next(affinity_length * width), {});
    }
    const Vocabulary* creators = t.encoder.works.find_vocabulary(kCreator);
    const auto put_edges = [&](const auto& given, const StoredLists& lists) {
        for (const std::int64_t id : read_latest(given, lists, kMaxEdges)) {
            out.put(creators == nullptr ? 0 : creators->code(id));
        }
    };
    put_edges(user.follows, t.follows);
    put_edges(user.friends, t.friends);
    OutputWriter<float> values(numbers);
    encode_numbers(t.encoder.users, t.users, row, time_ms, counters.all, values.next(t.encoder.users.n_numbers()));
    values.put(static_cast<float>(fixed_log1p(static_cast<double>(n_history))));
    values.put(static_cast<float>(fixed_log1p(static_cast<double>(n_skipped))));
    const std::size_t n_tasks = counters.in_scene.empty() ? 0 : counters.in_scene.size() - 1;
    const auto priors = std::span(t.encoder.scene_priors).subspan(static_cast<std::size_t>(scene) * n_tasks, n_tasks);
    counter_numbers(counters.in_scene, priors, values.next(counters.in_scene.size()));
}

Status encode_user(const EncoderTables& t, const UserState& user, std::string_view scene, std::int64_t time_ms,
                   std::span<std::int64_t> codes, std::span<float> numbers) {
    Status status = check_lengths("codes", codes.size(), "the encoder's codes", t.n_codes);
    if (!status.ok()) return status;
    status = check_lengths("numbers", numbers.size(), "the encoder's numbers", t.n_numbers);
    if (!status.ok()) return status;
    const std::int64_t row = t.users.ids.find_row(user.user_id);
    const std::int64_t scene_code = t.find_scene(scene);
    const std::int64_t code = t.encoder.scenes.known_code(scene_code);
    UserCounters counters;
    status = read_user_counters(t, user, row, scene_code, code > 0, counters);
    if (status.ok()) write_user(t, user, row, code, time_ms, counters, codes, numbers);
    return status;
}

}  // namespace

UserEncoder::UserEncoder(std::shared_ptr<const EncoderTables> tables) noexcept : tables_(std::move(tables)) {}

Result<UserEncoder> UserEncoder::open(const Bundle& bundle, bool verify) noexcept {
    return at_boundary([&]() -> Result<UserEncoder> {
        auto tables = EncoderTables::open(bundle, verify);
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
