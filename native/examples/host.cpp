// Recommends a page to a user, from a bundle and exported stages of `karec demo`: candidates in, page out.
//
//   host BUNDLES STAGES ONNXRUNTIME USER_ID [HISTORY_ID…]
//
// ONNXRUNTIME  for example site-packages/onnxruntime/capi/libonnxruntime.so.1.x of the Python wheel
// HISTORY_ID…  items that the user enjoyed, oldest first; default: those of the bundle's snapshot
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <system_error>
#include <vector>

#include "karec/stages.hpp"

namespace {

int fail(const karec::Status& status) {
    std::fprintf(stderr, "host: %s\n", status.message().c_str());
    return 1;
}

int print_usage() {
    std::fprintf(stderr, "usage: host BUNDLES STAGES ONNXRUNTIME USER_ID [HISTORY_ID…]\n");
    return 2;
}

bool read_number(const char* text, std::int64_t& number) {
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), number);
    return error == std::errc() && *end == '\0';
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) return print_usage();
    karec::UserState user;
    if (!read_number(argv[4], user.user_id)) return print_usage();
    std::vector<std::int64_t> history(static_cast<std::size_t>(argc) - 5);
    for (std::size_t i = 0; i < history.size(); ++i) {
        if (!read_number(argv[5 + i], history[i])) return print_usage();
    }
    if (!history.empty()) user.history = history;

    karec::StagesOptions options;
    options.onnxruntime = argv[3];
    const auto stages = karec::Stages::open(argv[1], argv[2], options);
    if (!stages.ok()) return fail(stages.status());

    // The host's own recall gives candidates. Here they are all items of the index.
    const karec::ItemIndex index = stages->index();
    const auto table = index.pinned().table();
    if (!table.ok()) return fail(table.status());

    karec::Request request;
    request.candidates = table.value()->ids;
    request.user = &user;
    request.time_ms = static_cast<std::int64_t>(std::time(nullptr)) * 1000;
    request.shown = history;
    request.k = 10;

    karec::Page page;
    const auto status = stages->run(request, page);
    if (!status.ok()) return fail(status);
    std::printf("model version %lld: %zu of %zu items\n", static_cast<long long>(page.model_version), page.ids.size(),
                request.candidates.size());
    for (std::size_t i = 0; i < page.ids.size() && i < request.k; ++i) {
        std::printf("%2zu  %12lld  %.6f\n", i + 1, static_cast<long long>(page.ids[i]),
                    static_cast<double>(page.scores[i]));
    }
    return 0;
}
