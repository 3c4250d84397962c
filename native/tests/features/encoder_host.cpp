// A C++ host for tests/native/test_encoder_parity.py: encodes the users of a file, into another file.
//
//   encoder_host BUNDLE REQUESTS ANSWERS
//
// REQUESTS, little-endian int64 words: n_requests, then for each: user id, time_ms, the scene's name (length, bytes);
// history, skipped, follows, friends, each as its length and ids, −1 = not given; n_counters, −1 = not given, their
// names, their float32 values over all scenes and in the scene. Bytes are padded to 8. Prints the outputs' names and
// shapes; ANSWERS: for each request its int64 codes, then its float32 numbers.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "host_words.hpp"
#include "karec/user_encoder.hpp"

using namespace karec;

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const auto bundle = Bundle::open(argv[1]);
    const auto encoder = bundle.ok() ? UserEncoder::open(bundle.value(), true) : bundle.status();
    if (!encoder.ok()) {
        std::fprintf(stderr, "%s\n", encoder.status().message().c_str());
        return 1;
    }
    for (const TensorSpec& output : encoder->outputs()) {
        std::printf("%s %s", output.name.c_str(), name_of(output.dtype));
        for (const std::int64_t size : output.shape) std::printf(" %lld", static_cast<long long>(size));
        std::printf("\n");
    }
    Words in(argv[2]);
    std::ofstream answers(argv[3], std::ios::binary);
    std::vector<std::int64_t> codes(encoder->n_codes());
    std::vector<float> numbers(encoder->n_numbers());
    for (std::size_t left = in.size(); left > 0; --left) {
        UserState user;
        user.user_id = in.word();
        const std::int64_t time_ms = in.word();
        const std::string scene = in.text();
        std::array<std::vector<std::int64_t>, 4> ids;
        std::optional<std::span<const std::int64_t>>* const lists[] = {&user.history, &user.skipped, &user.follows,
                                                                       &user.friends};
        for (std::size_t i = 0; i < ids.size(); ++i) {
            const std::int64_t n = in.word();
            if (n < 0) continue;
            ids[i] = in.array<std::int64_t>(static_cast<std::size_t>(n));
            *lists[i] = ids[i];
        }
        const std::int64_t n_counters = in.word();
        std::vector<std::string> names;
        names.reserve(static_cast<std::size_t>(std::max<std::int64_t>(n_counters, 0)));
        for (std::int64_t i = 0; i < n_counters; ++i) names.push_back(in.text());
        const std::vector<std::string_view> views(names.begin(), names.end());
        const auto counters = in.array<float>(names.size());
        const auto in_scene = in.array<float>(names.size());
        user.counter_names = views;
        user.counters = counters;
        user.scene_counters = in_scene;
        const Status status = encoder->encode(user, scene, time_ms, codes, numbers);
        if (!status.ok()) {
            std::fprintf(stderr, "%s\n", status.message().c_str());
            return 1;
        }
        answers.write(reinterpret_cast<const char*>(codes.data()),
                      static_cast<std::streamsize>(codes.size() * sizeof(std::int64_t)));
        answers.write(reinterpret_cast<const char*>(numbers.data()),
                      static_cast<std::streamsize>(numbers.size() * sizeof(float)));
    }
    return answers.good() ? 0 : 1;
}
