// Model inputs from raw ids, by the golden encoder and snapshot. test_encoder_parity.py compares the bits with Python.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "check.hpp"
#include "features/golden_bundle.hpp"
#include "karec/user_encoder.hpp"

using namespace karec;

namespace {

constexpr std::int64_t kNow = 1'700'000'000'000;

struct World {
    BundleFolder folder;
    std::string path = folder.root() + "/bundle";
    World() { write_golden_bundle(path); }
    Result<UserEncoder> open() const { return UserEncoder::open(Bundle::open(path).value(), true); }
};

struct Inputs {
    explicit Inputs(const UserEncoder& by) : encoder(by), codes(by.n_codes(), -7), numbers(by.n_numbers(), -7.0f) {}
    const UserEncoder& encoder;
    std::vector<std::int64_t> codes;
    std::vector<float> numbers;

    std::vector<std::int64_t> take(std::size_t at, std::size_t n) const {
        std::vector<std::int64_t> part(n);
        std::copy_n(codes.data() + at, n, part.data());
        return part;
    }
    Status encode(const UserState& user, std::string_view scene = "home") {
        return encoder.encode(user, scene, kNow, codes, numbers);
    }
    // The codes of one output.
    std::vector<std::int64_t> of(std::string_view name) const {
        std::size_t at = 0;
        for (const TensorSpec& output : encoder.outputs()) {
            std::size_t n = 1;
            for (const std::int64_t size : output.shape) n *= static_cast<std::size_t>(size);
            if (output.name == name) return take(at, n);
            at += n;
        }
        return {};
    }
};

UserState user_of(std::int64_t id) {
    UserState user;
    user.user_id = id;
    return user;
}

bool refuses(const Status& status, std::string_view text) {
    return status.code() == Code::invalid_argument && status.message().find(text) != std::string::npos;
}

bool all_zero(const std::vector<std::int64_t>& codes) {
    return std::ranges::all_of(codes, [](std::int64_t code) { return code == 0; });
}

}  // namespace

TEST(unknown_user_has_codes_0_and_no_history) {
    const World world;
    const auto encoder = world.open();
    CHECK(encoder.ok());
    Inputs inputs(encoder.value());
    CHECK(inputs.encode(user_of(12345)).ok());
    for (const char* name : {"user_id", "user_ids", "history", "skipped", "alike", "follows"}) {
        CHECK(!inputs.of(name).empty() && all_zero(inputs.of(name)));
    }
    CHECK(inputs.of("context")[0] > 0);
    CHECK(std::ranges::all_of(inputs.numbers, [](float x) { return x == 0.0f; }));
}

TEST(unknown_works_have_codes_0_at_their_positions) {
    const World world;
    const auto encoder = world.open();
    Inputs inputs(encoder.value());
    const std::vector<std::int64_t> history{70, 999, -5, 10};  // oldest first; the last three are read
    UserState user = user_of(5);
    user.history = history;
    CHECK(inputs.encode(user).ok());
    const auto codes = inputs.of("history");
    const std::size_t width = codes.size() / 3;
    CHECK(codes[0] != 0 && all_zero(std::vector(codes.begin() + static_cast<std::ptrdiff_t>(width), codes.end())));
    CHECK(inputs.of("history_cowatch").size() == 3);
    user.history = std::span<const std::int64_t>();
    CHECK(inputs.encode(user).ok());
    CHECK(all_zero(inputs.of("history")));
}

TEST(encode_checks_counters_before_it_writes) {
    const World world;
    const auto encoder = world.open();
    Inputs inputs(encoder.value());
    const std::vector<std::string_view> names{"count_exposed", "count_click",  "count_long_view",
                                              "count_like",    "count_follow", "count_other"};
    std::vector<float> counters(names.size(), 3.0f);
    UserState user = user_of(5);
    user.counter_names = names;
    user.counters = user.scene_counters = counters;
    CHECK(inputs.encode(user).ok());
    const auto written = inputs.numbers;
    counters[1] = std::numeric_limits<float>::quiet_NaN();
    CHECK(refuses(inputs.encode(user), "counters holds NaN"));
    counters[1] = -1.0f;
    CHECK(refuses(inputs.encode(user), "'count_click' is negative"));
    user.counters = user.counters.first(2);
    CHECK(refuses(inputs.encode(user), "counters"));
    user.counters = {};
    user.counter_names = user.counter_names.first(1);
    user.scene_counters = user.scene_counters.first(1);
    CHECK(refuses(inputs.encode(user), "counter_names lack 'count_click', which the encoder reads"));
    user.scene_counters = counters;
    CHECK(refuses(inputs.encode(user), "scene_counters"));
    user.scene_counters = {};
    CHECK(refuses(inputs.encode(user), "counter_names are given, but counters and scene_counters are empty"));
    CHECK(inputs.numbers == written);
}

TEST(scene_counters_are_checked_and_change_only_their_numbers) {
    const World world;
    const auto encoder = world.open();
    Inputs inputs(encoder.value());
    const std::vector<std::string_view> names{"count_like", "count_exposed", "count_follow", "count_click",
                                              "count_long_view"};
    std::vector<float> in_scene{2.0f, 50.0f, 1.0f, 9.0f, 7.0f};
    UserState user = user_of(5);
    CHECK(inputs.encode(user).ok());
    const auto codes = inputs.codes;
    const auto before = inputs.numbers;
    user.counter_names = names;
    user.scene_counters = in_scene;
    CHECK(inputs.encode(user).ok());
    CHECK(inputs.codes == codes);
    const auto changed = std::ranges::mismatch(inputs.numbers, before).in1 - inputs.numbers.begin();
    CHECK(changed + 5 >= static_cast<std::ptrdiff_t>(before.size()));  // at most the last: exposures and four tasks
    CHECK(inputs.numbers != before);
    const auto written = inputs.numbers;
    for (const float odd : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        in_scene[3] = odd;
        CHECK(refuses(inputs.encode(user), "scene_counters holds "));
    }
    in_scene[3] = -1.0f;
    CHECK(refuses(inputs.encode(user), "'count_click' is negative"));
    user.counter_names = user.counter_names.first(2);
    user.scene_counters = user.scene_counters.first(2);
    CHECK(refuses(inputs.encode(user), "counter_names lack 'count_click', which the encoder reads"));
    CHECK(inputs.numbers == written);
}

TEST(encode_refuses_outputs_of_another_length) {
    const World world;
    const auto encoder = world.open();
    Inputs inputs(encoder.value());
    inputs.codes.pop_back();
    CHECK(refuses(inputs.encode(user_of(5)), "codes"));
    inputs.codes.resize(encoder->n_codes());
    inputs.numbers.push_back(0.0f);
    CHECK(refuses(inputs.encode(user_of(5)), "numbers"));
}

TEST(context_has_hour_and_weekday_of_any_moment) {
    const World world;
    const auto encoder = world.open();
    Inputs inputs(encoder.value());
    constexpr std::int64_t kEnds[] = {std::numeric_limits<std::int64_t>::min(), -1, 0, 1,
                                      std::numeric_limits<std::int64_t>::max()};
    for (const std::int64_t moment : kEnds) {
        CHECK(encoder->encode(user_of(5), "city", moment, inputs.codes, inputs.numbers).ok());
        const auto context = inputs.of("context");
        CHECK(context[1] >= 1 && context[1] <= 24 && context[2] >= 1 && context[2] <= 7);
        CHECK(std::ranges::all_of(inputs.numbers, [](float x) { return std::isfinite(x); }));
    }
    CHECK(encoder->encode(user_of(5), "city", 0, inputs.codes, inputs.numbers).ok());
    CHECK((inputs.of("context") == std::vector<std::int64_t>{inputs.of("context")[0], 1, 4}));  // a Thursday
}

TEST(open_refuses_a_bundle_without_required_files) {
    const World world;
    std::filesystem::remove(world.path + "/snapshot/users/city.npy");
    write_manifest(world.path, 1);
    const auto lacking = world.open();
    CHECK(lacking.status().code() == Code::bad_format);
    CHECK(lacking.status().message().find("snapshot/users/city.npy") != std::string::npos);
    std::filesystem::remove(world.path + "/encoder.npz");
    write_manifest(world.path, 1);
    CHECK(world.open().status().code() == Code::unavailable);
}

TEST(open_refuses_counters_and_moments_outside_their_range_by_row) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::int64_t late = 253'402'300'800'000;
    const auto refuses_last = [](const std::string& name, const auto& value) {
        const World world;
        const std::string path = world.path + "/snapshot/" + name;
        std::string text = read_file(path);
        std::memcpy(text.data() + text.size() - sizeof value, &value, sizeof value);
        write_file(path, text);
        write_manifest(world.path, 1);
        const Status status = world.open().status();
        CHECK(UserEncoder::open(Bundle::open(world.path).value(), false).ok());
        return status.code() == Code::bad_format && status.message().find(name + ": row ") != std::string::npos;
    };
    for (const std::string table : {"users/", "works/", "user_scene_counters/"}) {
        for (const float counter : {nan, -1.0f, std::numeric_limits<float>::infinity()}) {
            CHECK(refuses_last(table + "count_click.npy", counter));
        }
    }
    CHECK(refuses_last("works/upload_ms.npy", late));
    CHECK(!refuses_last("works/upload_ms.npy", late - 1));
    CHECK(!refuses_last("works/upload_ms.npy", std::int64_t{-1}));
}

TEST(open_refuses_another_format_with_advice) {
    for (const auto& [name, advice] : {std::pair("/encoder.npz", "Train and publish again"),
                                       std::pair("/snapshot/snapshot.json", "Publish the bundle again")}) {
        const World world;
        std::string text = read_file(world.path + name);
        const std::string format = "\"format\": 1";
        text.replace(text.find(format), format.size(), "\"format\": 2");
        write_file(world.path + name, text);
        write_manifest(world.path, 1);
        const Status status = world.open().status();
        CHECK(status.code() == Code::bad_format);
        CHECK(status.message().find(name) != std::string::npos);
        CHECK(status.message().find(std::string("another format, expected 1. ") + advice) != std::string::npos);
    }
}

TEST(open_refuses_co_watch_vectors_of_another_shape) {
    const World world;
    std::string text = read_file(world.path + "/encoder.npz");
    const std::string shape = "'shape': (4, 2), ";
    CHECK(text.find(shape) != std::string::npos);
    text.replace(text.find(shape), shape.size(), "'shape': (2, 4), ");
    write_file(world.path + "/encoder.npz", text);
    write_manifest(world.path, 1);
    CHECK(world.open().status().message().find("'cowatch.vectors' is missing or not float32 (4, D)") !=
          std::string::npos);
}
