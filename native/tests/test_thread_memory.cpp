// Memory that a thread keeps after its calls, by counting every operator new: a few MiB after a request's calls.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "counted_memory.hpp"
#include "karec/dpp.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kWorks = 200'000;
constexpr std::size_t kDim = 64;

struct Out {
    explicit Out(std::size_t k) : scores(k), ids(k), rows(k), positions(k) {}
    Ranked all() { return {scores, ids, rows, positions}; }
    std::vector<float> scores;
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> rows;
    std::vector<std::int64_t> positions;
};

void select(std::size_t n, std::size_t k, const std::vector<float>& vectors) {
    const std::vector<float> relevance(n, 0.0f);  // flat: every item is packed
    std::vector<std::int64_t> indices(k);
    std::vector<double> gains(k);
    DppOptions options;
    CHECK(dpp_select({vectors.data(), n, kDim, DType::float32}, relevance, options, indices, gains).ok());
}

}  // namespace

// The calls of the starting karec.toml: model recall, inner product, DPP of prerank and of rerank.
TEST(thread_keeps_few_mib_of_a_request_until_it_ends) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> vectors(kWorks * kDim);
    for (float& x : vectors) x = normal(random);
    std::vector<std::int64_t> ids(kWorks);
    std::iota(ids.begin(), ids.end(), 0);
    const ItemIndex index = ItemIndex::build(ids, {vectors.data(), kWorks, kDim, DType::float32}, {}).value();
    const std::vector<float> user(kDim, 0.5f);
    Out recalled(40'000);
    Out scored(2'000);
    const auto before = held.load();
    std::size_t kept = 0;
    std::thread([&] {
        const Query query(user);
        SearchCount count;
        const auto earlier = held.load();
        for (int request = 0; request < 3; ++request) {
            CHECK(index.pinned().search_all({&query, 1}, {}, recalled.all(), {&count, 1}).ok());
            CHECK(index.pinned().search(query, Candidates::of_ids(std::span(ids).first(100'000)), scored.all()).ok());
            select(2'000, 1'000, vectors);
            select(100, 30, vectors);
        }
        kept = held - earlier;
    }).join();
    std::printf("     a thread keeps %zu bytes\n", kept);
    CHECK(kept <= 8 * kMiB);
    CHECK(held <= before + kMiB / 64);  // memory of the thread itself
}
