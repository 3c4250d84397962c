// Overhead of Stages and of the C interface over the raw kernel. One thread; in each round every variant runs on the
// same random candidates; medians. Prints "name nanoseconds" lines, for one call each.
//
//   host_bench ROOT SETTINGS N_CANDIDATES ROUNDS
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "karec/karec.h"
#include "karec/stages.hpp"

using namespace karec;

namespace {

double nanoseconds(const std::function<void()>& call, int times) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < times; ++i) call();
    const auto spent = std::chrono::steady_clock::now() - start;
    return static_cast<double>(std::chrono::nanoseconds(spent).count()) / times;
}

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

// The time that a variant adds to the previous one: the median over rounds of the difference within a round.
void table(const std::vector<std::pair<std::string, std::function<void()>>>& contenders, int rounds, int times,
           const std::function<void()>& between) {
    std::vector<std::vector<double>> spent(contenders.size());
    for (int round = -3; round < rounds; ++round) {
        between();
        for (std::size_t turn = 0; turn < contenders.size(); ++turn) {
            const std::size_t c = (turn + static_cast<std::size_t>(round + 3)) % contenders.size();
            const double each = nanoseconds(contenders[c].second, times);
            if (round >= 0) spent[c].push_back(each);
        }
    }
    for (std::size_t c = 0; c < contenders.size(); ++c) {
        std::vector<double> ratios;
        std::vector<double> added;
        for (std::size_t r = 0; r < spent[c].size(); ++r) {
            ratios.push_back(spent[c][r] / spent[0][r]);
            added.push_back(spent[c][r] - spent[0][r]);
        }
        std::printf("%s %.1f %.4f %.1f\n", contenders[c].first.c_str(), median(spent[c]), median(ratios),
                    median(added));
    }
}

void good(bool ok) {
    if (!ok) std::abort();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) return 2;
    const auto n = static_cast<std::size_t>(std::strtoll(argv[3], nullptr, 10));
    const int rounds = static_cast<int>(std::strtol(argv[4], nullptr, 10));
    const auto stages = Stages::open(argv[1], argv[2], {});
    if (!stages.ok()) return std::fprintf(stderr, "%s\n", stages.status().message().c_str()), 1;
    karec_stages* c_stages = nullptr;
    karec_index* c_index = nullptr;
    good(karec_stages_open(argv[1], argv[2], nullptr, &c_stages) == KAREC_OK);
    good(karec_stages_index(c_stages, &c_index) == KAREC_OK);

    const ItemIndex index = stages->index();
    const auto catalogue = index.pinned().table().value();
    std::mt19937_64 random(1);  // NOLINT(bugprone-random-generator-seed): the same for every run
    std::vector<std::int64_t> ids(n);
    std::vector<float> user(index.pinned().dim());
    for (float& x : user) x = static_cast<float>(random() % 2000) / 1000.0f - 1.0f;
    Request request;
    request.candidates = ids;
    request.user_vector = user;
    for (auto& id : ids) id = catalogue->ids[random() % catalogue->ids.size()];
    Page page;
    good(stages->run(request, page).ok());
    const std::size_t k = page.ids.size();
    std::vector<float> scores(k);
    std::vector<std::int64_t> found(k);
    std::vector<std::int32_t> rows(k);
    std::vector<std::int64_t> positions(k);
    const karec_query c_query{sizeof c_query, user.data(), user.size(), nullptr, 0, nullptr, 0};
    karec_request c_request = KAREC_REQUEST_INIT;
    c_request.candidates = ids.data();
    c_request.n_candidates = n;
    c_request.user_vector = &c_query;
    c_request.k = 1;
    karec_page c_page = KAREC_PAGE_INIT;
    c_page.ids = found.data();
    c_page.scores = scores.data();
    c_page.rows = rows.data();
    c_page.capacity = k;
    const auto draw = [&] {
        for (auto& id : ids) id = catalogue->ids[random() % catalogue->ids.size()];
    };
    const auto raw = [&] {
        good(index.pinned().search(user, Candidates::of_ids(ids), {scores, found, rows, positions}).ok());
    };
    table({{"kernel", raw},
           {"stages", [&] { good(stages->run(request, page).ok()); }},
           {"c_stages", [&] { good(karec_stages_run(c_stages, &c_request, &c_page) == KAREC_OK); }}},
          rounds, 1, draw);

    // One candidate: the time is the overhead of the call.
    const std::span<const std::int64_t> one = std::span<const std::int64_t>(ids).first(1);
    const karec_candidates c_one{sizeof c_one, ids.data(), nullptr, 1};
    const karec_ranked c_ranked{sizeof c_ranked, scores.data(), found.data(), rows.data(), positions.data(), 1};
    const Ranked ranked{std::span(scores).first(1), std::span(found).first(1), std::span(rows).first(1),
                        std::span(positions).first(1)};
    request.candidates = one;
    c_request.n_candidates = 1;
    table({{"one_kernel", [&] { good(index.pinned().search(user, Candidates::of_ids(one), ranked).ok()); }},
           {"one_c", [&] { good(karec_index_search(c_index, &c_query, &c_one, &c_ranked, nullptr) == KAREC_OK); }},
           {"one_stages", [&] { good(stages->run(request, page).ok()); }},
           {"one_c_stages", [&] { good(karec_stages_run(c_stages, &c_request, &c_page) == KAREC_OK); }}},
          rounds, 2000, [] {});
    karec_index_close(c_index);
    karec_stages_close(c_stages);
    return 0;
}
