// Time of a search, and of a loop that only reads the cache lines of the same rows: the share that is memory access.
// One thread, the two in turn, each call on new random rows; medians.
//
//   gather_bench WORKS float16|float32 N_CANDIDATES ROUNDS     prints "gather_ns search_ns share", for one row
//
// The loop's rows are laid out like the index's (huge pages, side by side) and prefetched like a search's: while one
// block is read, the next is fetched into the second-level cache.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "karec/item_index.hpp"

using namespace karec;

namespace {

constexpr std::size_t kDim = 64;
constexpr std::size_t kBest = 1000;
constexpr std::size_t kBlock = 128;
constexpr std::size_t kLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::uint64_t gather(const std::byte* lines, std::size_t stride, const std::vector<std::int32_t>& rows) {
    std::uint64_t sum = 0;
    for (std::size_t first = 0; first < rows.size(); first += kBlock) {
        const std::size_t end = std::min(first + kBlock, rows.size());
        for (std::size_t i = first; i < end; ++i) {
            if (i + kBlock < rows.size()) {
                const std::byte* next = lines + static_cast<std::size_t>(rows[i + kBlock]) * stride;
                for (std::size_t at = 0; at < stride; at += kLine) __builtin_prefetch(next + at, 0, 2);
            }
            const std::byte* row = lines + static_cast<std::size_t>(rows[i]) * stride;
            for (std::size_t at = 0; at < stride; at += kLine) {
                std::uint64_t word;
                std::memcpy(&word, row + at, sizeof word);
                sum += word;
            }
        }
    }
    return sum;
}

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) return 2;
    const auto works = static_cast<std::size_t>(std::strtoll(argv[1], nullptr, 10));
    const bool half = std::string_view(argv[2]) == "float16";
    const auto n = static_cast<std::size_t>(std::strtoll(argv[3], nullptr, 10));
    const int rounds = static_cast<int>(std::strtol(argv[4], nullptr, 10));
    std::mt19937_64 random(1);  // NOLINT(bugprone-random-generator-seed): the same for every run
    std::vector<float> query(kDim);
    for (float& x : query) x = static_cast<float>(random() % 2000) / 1000.0f - 1.0f;

    ItemIndex::BuildOptions options;
    options.dtype = half ? DType::float16 : DType::float32;
    ItemIndex index = ItemIndex::build({}, {nullptr, 0, kDim, DType::float32}, options).value();
    constexpr std::size_t kBatch = 100'000;
    std::vector<float> vectors(kBatch * kDim);
    for (float& x : vectors) x = static_cast<float>(random() % 2000) / 1000.0f - 1.0f;
    for (std::size_t first = 0; first < works; first += kBatch) {
        std::vector<std::int64_t> ids(std::min(kBatch, works - first));
        for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(first + i);
        if (!index.upsert(ids, {vectors.data(), ids.size(), kDim, DType::float32}, {}, 0).ok()) return 1;
    }
    const std::size_t stride = kDim * size_of(options.dtype);
    const std::size_t bytes = (works * stride + kHugePage - 1) / kHugePage * kHugePage;
    auto* lines = static_cast<std::byte*>(std::aligned_alloc(kHugePage, bytes));
    if (lines == nullptr) return 1;
    ::madvise(lines, bytes, MADV_HUGEPAGE);
    std::memset(lines, 1, bytes);

    std::vector<float> scores(kBest);
    std::vector<std::int64_t> found(kBest);
    std::vector<std::int32_t> best(kBest);
    std::vector<std::int64_t> positions(kBest);
    std::vector<std::int32_t> rows(n);
    std::vector<double> spent[2];
    std::uint64_t sum = 0;
    bool good = true;
    for (int round = -2; round < rounds; ++round) {
        for (const int search : {0, 1}) {
            for (std::int32_t& row : rows) row = static_cast<std::int32_t>(random() % works);
            const auto start = std::chrono::steady_clock::now();
            if (search == 0) {
                sum += gather(lines, stride, rows);
            } else {
                good = good && index.search(query, Candidates::of_rows(rows), {scores, found, best, positions}).ok();
            }
            const std::chrono::duration<double, std::nano> each = std::chrono::steady_clock::now() - start;
            if (round >= 0) spent[search].push_back(each.count() / static_cast<double>(n));
        }
    }
    std::free(lines);
    if (!good || sum == 0) return 1;
    const double alone = median(spent[0]);
    const double whole = median(spent[1]);
    std::printf("%.2f %.2f %.4f\n", alone, whole, alone / whole);
    return 0;
}
