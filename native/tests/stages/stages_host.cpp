// A C++ host for tests/native/test_host_parity.py: answers the requests of a file with Stages, into another file.
//
//   stages_host ROOT SETTINGS REQUESTS ANSWERS [ONNXRUNTIME]
//
// REQUESTS, little-endian int64 words: n_requests, then for each: time_ms, k, n_candidates, n_shown, n_user (floats),
// n_versions, n_inputs, is_raw; a user id where is_raw is 1, encoded by the bundle; candidates; shown; n_versions model
// versions; user vectors, side by side, their bytes padded to 8. n_versions 0: one user vector for all. Inputs: length
// of the name, name padded to 8, dtype (karec's number), rank, shape, bytes padded to 8. ANSWERS: for each found,
// unknown, ids; scores padded.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "host_words.hpp"
#include "karec/stages.hpp"

using namespace karec;

int main(int argc, char** argv) {
    if (argc < 5) return 2;
    const auto settings = StageSettings::read(argv[2]);
    StagesOptions options;
    if (argc > 5) options.onnxruntime = argv[5];
    const auto ranker = settings.ok() ? Stages::open(argv[1], settings.value(), options) : settings.status();
    if (!ranker.ok()) {
        std::fprintf(stderr, "%s\n", ranker.status().message().c_str());
        return 1;
    }
    Words in(argv[3]);
    std::ofstream answers(argv[4], std::ios::binary);
    const auto put = [&answers](const void* data, std::size_t n) {
        answers.write(static_cast<const char*>(data), static_cast<std::streamsize>(n));
        answers.write("\0\0\0\0\0\0\0", static_cast<std::streamsize>((8 - n % 8) % 8));
    };
    for (std::size_t left = in.size(); left > 0; --left) {
        Request request;
        request.time_ms = in.word();
        request.k = in.size();
        const std::size_t n_candidates = in.size();
        const std::size_t n_shown = in.size();
        const std::size_t n_user = in.size();
        const std::size_t n_versions = in.size();
        const std::size_t n_inputs = in.size();
        UserState raw;
        if (in.size() == 1) {
            raw.user_id = in.word();
            request.user = &raw;
        }
        const auto candidates = in.array<std::int64_t>(n_candidates);
        const auto shown = in.array<std::int64_t>(n_shown);
        const auto versions = in.array<std::int64_t>(n_versions);
        const auto user = in.array<float>(n_user);
        std::vector<VersionQuery> users;
        for (std::size_t v = 0; v < n_versions; ++v) {
            const std::size_t dim = n_user / n_versions;
            users.push_back({versions[v], std::span(user).subspan(v * dim, dim)});
        }
        std::vector<std::string> names(n_inputs);
        std::vector<std::vector<std::int64_t>> shapes(n_inputs);
        std::vector<Tensor> tensors(n_inputs);
        for (std::size_t i = 0; i < n_inputs; ++i) {
            const std::size_t length = in.size();
            names[i].assign(in.take(length), length);
            tensors[i].dtype = static_cast<DType>(in.word());
            shapes[i] = in.array<std::int64_t>(in.size());
            std::size_t bytes = size_of(tensors[i].dtype);
            for (const std::int64_t size : shapes[i]) bytes *= static_cast<std::size_t>(size);
            tensors[i].name = names[i];
            tensors[i].shape = shapes[i];
            tensors[i].data = in.take(bytes);
        }
        request.candidates = candidates;
        request.shown = shown;
        if (users.empty()) request.user_vector = user;
        request.user_vectors = users;
        request.user_inputs = tensors;
        const std::size_t most = ranker->most(request);
        std::vector<float> scores(most);
        std::vector<std::int64_t> ids(most);
        std::vector<std::int32_t> rows(most);
        const auto count = ranker->run(request, {scores, ids, rows});
        if (!count.ok()) {
            std::fprintf(stderr, "%s\n", count.status().message().c_str());
            return 1;
        }
        const std::int64_t told[] = {static_cast<std::int64_t>(count->found),
                                     static_cast<std::int64_t>(count->unknown)};
        put(told, sizeof told);
        put(ids.data(), count->found * sizeof(std::int64_t));
        put(scores.data(), count->found * sizeof(float));
    }
    return answers.good() ? 0 : 1;
}
