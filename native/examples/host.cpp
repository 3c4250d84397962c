// A C++ host: recommends from a bundle that `karec demo` wrote, to somebody who liked some works.
//
//   host BUNDLES SETTINGS LIKED_ID…            the user's vector is the mean of the works' vectors
//   host BUNDLES SETTINGS --tower LIBRARY      … or the tower's, for a user whom nobody knows yet
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "karec/prerank.hpp"

namespace {

int fail(const karec::Status& status) {
    std::fprintf(stderr, "host: %s\n", status.message().c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) return std::fprintf(stderr, "usage: host BUNDLES SETTINGS (LIKED_ID… | --tower LIBRARY)\n"), 2;
    const bool by_tower = std::string(argv[3]) == "--tower" && argc > 4;
    const auto settings = karec::PrerankSettings::read(argv[2]);
    if (!settings.ok()) return fail(settings.status());
    karec::PreRankerOptions options;
    if (by_tower) options.onnxruntime = argv[4];
    const auto ranker = karec::PreRanker::open(argv[1], settings.value(), options);
    if (!ranker.ok()) return fail(ranker.status());

    // Candidates come from the host's own recall; here they are the whole catalogue.
    const karec::ItemIndex index = ranker->index();
    const auto table = index.table();
    if (!table.ok()) return fail(table.status());
    karec::PrerankRequest request;
    request.candidates = table.value()->ids;
    request.time_ms = static_cast<std::int64_t>(std::time(nullptr)) * 1000;

    std::vector<std::int64_t> liked;
    std::vector<float> user;
    std::vector<karec::Tensor> inputs;
    std::vector<std::vector<std::int64_t>> shapes;
    const std::vector<double> zeros(1 << 16);  // 0 is the code of what is unknown, and the mean of every number
    if (by_tower) {
        const auto tower = ranker->user_tower();
        for (const auto& input : tower->inputs()) shapes.push_back(input.shape);
        for (std::size_t i = 0; i < shapes.size(); ++i) {
            shapes[i][0] = 1;
            inputs.push_back({tower->inputs()[i].name, tower->inputs()[i].dtype, shapes[i], zeros.data()});
        }
    } else {
        for (int i = 3; i < argc; ++i) liked.push_back(std::strtoll(argv[i], nullptr, 10));
        std::vector<std::int32_t> rows(liked.size());
        std::vector<float> vectors(liked.size() * index.dim());
        if (auto status = index.lookup(liked, rows); !status.ok()) return fail(status);
        if (auto status = index.gather(rows, vectors); !status.ok()) return fail(status);
        user.resize(index.dim());
        for (std::size_t i = 0; i < vectors.size(); ++i) {
            user[i % user.size()] += vectors[i] / static_cast<float>(liked.size());
        }
    }
    request.user_vector = user;
    request.user_inputs = inputs;
    request.shown = liked;

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
