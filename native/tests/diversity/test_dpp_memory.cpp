// Peak memory of a selection, by counting every operator new: 1.2·N·D·4 + k·D·4 bytes and O(N).
#include <cstddef>
#include <cstdio>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "counted_memory.hpp"
#include "karec/dpp.hpp"

using namespace karec;

namespace {

// Bytes that one selection adds at its peak, on a new thread, which has no memory from earlier calls. With types, each
// type has two items.
std::size_t peak_of(std::size_t n, std::size_t dim, std::size_t k, bool typed) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> embeddings(n * dim);
    std::vector<float> relevance(n, 0.0f);  // flat: every item is packed
    for (float& x : embeddings) x = normal(random);
    std::vector<std::int64_t> indices(k);
    std::vector<double> gains(k);
    std::size_t most = 0;
    std::vector<std::int64_t> types(typed ? n : 0);
    for (std::size_t i = 0; i < types.size(); ++i) types[i] = static_cast<std::int64_t>(i / 2);
    DppOptions options;
    options.types = types;
    options.type_weight = typed ? 0.2 : 0.0;
    std::thread([&] {
        const std::size_t before = held;
        peak = before;
        CHECK(dpp_select({embeddings.data(), n, dim, DType::float32}, relevance, options, indices, gains).ok());
        most = peak - before;
    }).join();
    return most;
}

}  // namespace

TEST(dpp_selection_stays_within_its_memory_bound) {
    struct Size {
        std::size_t n;
        std::size_t dim;
        std::size_t k;
    };
    for (const Size& size : {Size{10'000, 64, 100}, Size{10'000, 128, 1000}, Size{50'000, 64, 100}}) {
        const std::size_t most = peak_of(size.n, size.dim, size.k, false);
        constexpr std::size_t kAnItem = 80;  // by N: qualities, norms, ρ, places
        const std::size_t values = size.n * size.dim * sizeof(float);
        const std::size_t directions = size.k * size.dim * sizeof(float);
        std::printf("     N = %zu, D = %zu, k = %zu: %zu bytes, %.3f of N·D·4\n", size.n, size.dim, size.k, most,
                    static_cast<double>(most) / static_cast<double>(values));
        CHECK(most <= values + values / 5 + directions + kAnItem * size.n);
    }
}

TEST(memory_depends_on_picked_types_not_on_all_types) {
    constexpr std::size_t kItems = 10'000;
    constexpr std::size_t kDim = 64;
    constexpr std::size_t kPicks = 1000;
    const std::size_t without = peak_of(kItems, kDim, kPicks, false);
    const std::size_t with = peak_of(kItems, kDim, kPicks, true);
    std::printf("     %zu bytes without types, %zu with\n", without, with);
    // For each picked type a sum and a mean; for each pick an offset for each picked type; a few numbers for each item.
    // Times 4: vectors grow to powers of two, and the thread keeps their earlier memory.
    const std::size_t offsets = kPicks * kPicks / 2 * sizeof(float);
    const std::size_t means = kPicks * kDim * (sizeof(double) + sizeof(float));
    CHECK(with <= without + 4 * (offsets + means) + 80 * kItems);
}
