// A C++ host: recommends works to a user by raw ids, from a bundle that `karec demo` wrote.
//
//   host BUNDLES SETTINGS ONNXRUNTIME USER_ID [HISTORY_ID…]
//
// ONNXRUNTIME: site-packages/onnxruntime/capi/libonnxruntime.so.1.x of Python's wheel, for example. HISTORY_ID…: works
// that the user enjoyed, oldest first; without any, those that the bundle's snapshot knows.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "karec/stages.hpp"

namespace {

int fail(const karec::Status& status) {
    std::fprintf(stderr, "host: %s\n", status.message().c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) {
        std::fprintf(stderr, "usage: host BUNDLES SETTINGS ONNXRUNTIME USER_ID [HISTORY_ID…]\n");
        return 2;
    }
    const auto settings = karec::StageSettings::read(argv[2]);
    if (!settings.ok()) return fail(settings.status());
    karec::StagesOptions options;
    options.onnxruntime = argv[3];
    const auto ranker = karec::Stages::open(argv[1], settings.value(), options);
    if (!ranker.ok()) return fail(ranker.status());

    // Candidates come from the host's own recall; here they are the whole catalogue.
    const karec::ItemIndex index = ranker->index();
    const auto table = index.table();
    if (!table.ok()) return fail(table.status());
    karec::Request request;
    request.candidates = table.value()->ids;
    request.time_ms = static_cast<std::int64_t>(std::time(nullptr)) * 1000;

    std::vector<std::int64_t> history;
    for (int i = 5; i < argc; ++i) history.push_back(std::strtoll(argv[i], nullptr, 10));
    karec::UserState user;
    user.user_id = std::strtoll(argv[4], nullptr, 10);
    if (!history.empty()) user.history = history;
    request.user = &user;
    request.shown = history;

    std::vector<float> scores(ranker->most(request));
    std::vector<std::int64_t> ids(scores.size());
    std::vector<std::int32_t> rows(scores.size());
    const auto count = ranker->run(request, {scores, ids, rows});
    if (!count.ok()) return fail(count.status());
    std::printf("model version %lld: %zu of %zu works\n", static_cast<long long>(count->model_version), count->found,
                request.candidates.size());
    for (std::size_t i = 0; i < count->found && i < 10; ++i) {
        std::printf("%2zu  %12lld  %.6f\n", i + 1, static_cast<long long>(ids[i]), static_cast<double>(scores[i]));
    }
    return 0;
}
