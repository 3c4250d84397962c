// A C++ host for tests/native/test_host_parity.py: runs Stages for the requests of a file and writes the pages.
//
//   stages_host ROOT SETTINGS REQUESTS PAGES [ONNXRUNTIME]
//
// REQUESTS  little-endian int64 words: the number of requests; then for each time_ms, k, has_user, user_id,
//           n_candidates, n_shown, n_floats, n_versions; candidates; shown; n_versions model versions; user vectors,
//           n_floats float32 in all, padded to 8 bytes. n_versions 0: one user vector for all rows.
// PAGES     for each request n_items, n_unknown, n_broken_rules, ids, and scores padded to 8 bytes.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <vector>

#include "host_words.hpp"
#include "karec/stages.hpp"

using namespace karec;

namespace {

int fail(const Status& status) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) return 2;
    StagesOptions options;
    if (argc > 5) options.onnxruntime = argv[5];
    const auto stages = Stages::open(argv[1], argv[2], options);
    if (!stages.ok()) return fail(stages.status());
    Words in(argv[3]);
    std::ofstream pages(argv[4], std::ios::binary);
    const auto write = [&pages](const void* data, std::size_t n) {
        pages.write(static_cast<const char*>(data), static_cast<std::streamsize>(n));
        pages.write("\0\0\0\0\0\0\0", static_cast<std::streamsize>((8 - n % 8) % 8));
    };
    Page page;
    for (std::size_t left = in.size(); left > 0; --left) {
        Request request;
        request.time_ms = in.word();
        request.k = in.size();
        const bool has_user = in.word() != 0;
        UserState user;
        user.user_id = in.word();
        if (has_user) request.user = &user;
        const std::size_t n_candidates = in.size();
        const std::size_t n_shown = in.size();
        const std::size_t n_floats = in.size();
        const std::size_t n_versions = in.size();
        const auto candidates = in.array<std::int64_t>(n_candidates);
        const auto shown = in.array<std::int64_t>(n_shown);
        const auto versions = in.array<std::int64_t>(n_versions);
        const auto floats = in.array<float>(n_floats);
        std::vector<VersionQuery> queries;
        for (std::size_t v = 0; v < n_versions; ++v) {
            const std::size_t dim = n_floats / n_versions;
            queries.push_back({versions[v], std::span(floats).subspan(v * dim, dim)});
        }
        request.candidates = candidates;
        request.shown = shown;
        if (!queries.empty()) {
            request.user_vector.emplace(std::span<const VersionQuery>(queries));
        } else if (n_floats > 0) {
            request.user_vector = floats;
        }
        const Status status = stages->run(request, page);
        if (!status.ok()) return fail(status);
        const std::int64_t counts[] = {static_cast<std::int64_t>(page.ids.size()),
                                       static_cast<std::int64_t>(page.n_unknown),
                                       static_cast<std::int64_t>(page.n_broken_rules)};
        write(counts, sizeof counts);
        write(page.ids.data(), page.ids.size() * sizeof(std::int64_t));
        write(page.scores.data(), page.scores.size() * sizeof(float));
    }
    return pages.good() ? 0 : 1;
}
