// A host for tests/native/test_host_parity.py: runs Stages for the requests of a file and writes the pages. Each
// request also runs through the C interface, which must give the same page.
//
//   stages_host ROOT SETTINGS REQUESTS PAGES [ONNXRUNTIME]
//
// REQUESTS  little-endian int64 words: the number of requests; then for each time_ms, k, has_user, user_id,
//           n_candidates, n_shown, n_floats, n_versions, n_tables; candidates; shown; n_versions model versions; user
//           vectors, n_floats float32 in all, padded to 8 bytes; n_tables of each vector: n, `other` as float32, codes,
//           values, each padded. n_versions 0: one user vector for all rows.
// PAGES     for each request n_items, n_unknown, n_broken_rules, ids, and scores padded to 8 bytes.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <vector>

#include "host_words.hpp"
#include "karec/karec.h"
#include "karec/stages.hpp"

using namespace karec;

namespace {

int fail(const Status& status) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return 1;
}

// The user vectors of a request, with their tables.
struct UserVectors {
    std::vector<std::int64_t> versions;
    std::vector<float> values;
    std::size_t n_tables;
    std::vector<std::vector<std::uint32_t>> codes;
    std::vector<std::vector<float>> additions;
    std::vector<CodeTable> tables;
    std::vector<karec_code_table> c_tables;
    std::vector<VersionQuery> queries;

    UserVectors(Words& in, std::size_t n_floats, std::size_t n_versions, std::size_t n_tables_of_vector)
        : versions(in.array<std::int64_t>(n_versions)),
          values(in.array<float>(n_floats)),
          n_tables(n_tables_of_vector) {
        const std::size_t n_all = n_tables * n_vectors();
        for (std::size_t t = 0; t < n_all; ++t) {
            const std::size_t n = in.size();
            const float other = in.array<float>(1)[0];
            codes.push_back(in.array<std::uint32_t>(n));
            additions.push_back(in.array<float>(n));
            tables.push_back({codes.back(), additions.back(), other});
            c_tables.push_back({sizeof(karec_code_table), codes.back().data(), additions.back().data(), n, other});
        }
        for (std::size_t v = 0; v < n_versions; ++v) {
            queries.push_back({versions[v], std::span(values).subspan(v * dim(), dim()),
                               std::span(tables).subspan(v * n_tables, n_tables)});
        }
    }
    std::size_t n_vectors() const { return std::max<std::size_t>(versions.size(), 1); }
    std::size_t dim() const { return values.size() / n_vectors(); }
    Query to_query() const {
        return versions.empty() ? Query(values, tables) : Query(std::span<const VersionQuery>(queries));
    }
    karec_query to_c() const {
        return {sizeof(karec_query), values.data(), dim(), versions.data(), versions.size(), c_tables.data(), n_tables};
    }
};

bool has_c_page(const karec_stages* stages, const Request& request, const UserVectors& vectors, const Page& expected) {
    Page found{std::vector<std::int64_t>(expected.ids.size()), std::vector<float>(expected.ids.size()),
               std::vector<std::int32_t>(expected.ids.size())};
    karec_user user = KAREC_USER_INIT;
    if (request.user != nullptr) user.user_id = request.user->user_id;
    const karec_query query = vectors.to_c();
    const karec_request c_request{sizeof(karec_request),
                                  request.candidates.data(),
                                  nullptr,
                                  request.candidates.size(),
                                  request.user == nullptr ? nullptr : &user,
                                  request.user_vector ? &query : nullptr,
                                  request.time_ms,
                                  request.shown.data(),
                                  request.shown.size(),
                                  request.k};
    karec_page page = KAREC_PAGE_INIT;
    page.ids = found.ids.data();
    page.scores = found.scores.data();
    page.rows = found.rows.data();
    page.capacity = expected.ids.size();
    return karec_stages_run(stages, &c_request, &page) == KAREC_OK && page.n_items == expected.ids.size() &&
           page.n_unknown == expected.n_unknown && page.n_broken_rules == expected.n_broken_rules &&
           found.ids == expected.ids && found.scores == expected.scores && found.rows == expected.rows;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) return 2;
    StagesOptions options;
    if (argc > 5) options.onnxruntime = argv[5];
    const auto stages = Stages::open(argv[1], argv[2], options);
    if (!stages.ok()) return fail(stages.status());
    karec_stages_options c_options = KAREC_STAGES_OPTIONS_INIT;
    if (argc > 5) c_options.onnxruntime = argv[5];
    karec_stages* c_stages = nullptr;
    if (karec_stages_open(argv[1], argv[2], &c_options, &c_stages) != KAREC_OK) return 3;
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
        const std::size_t n_tables = in.size();
        const auto candidates = in.array<std::int64_t>(n_candidates);
        const auto shown = in.array<std::int64_t>(n_shown);
        const UserVectors vectors(in, n_floats, n_versions, n_tables);
        request.candidates = candidates;
        request.shown = shown;
        if (n_floats > 0) request.user_vector = vectors.to_query();
        const Status status = stages->run(request, page);
        if (!status.ok()) return fail(status);
        if (!has_c_page(c_stages, request, vectors, page)) return fail(Status::invalid("C and C++ pages differ"));
        const std::int64_t counts[] = {static_cast<std::int64_t>(page.ids.size()),
                                       static_cast<std::int64_t>(page.n_unknown),
                                       static_cast<std::int64_t>(page.n_broken_rules)};
        write(counts, sizeof counts);
        write(page.ids.data(), page.ids.size() * sizeof(std::int64_t));
        write(page.scores.data(), page.scores.size() * sizeof(float));
    }
    karec_stages_close(c_stages);
    return pages.good() ? 0 : 1;
}
