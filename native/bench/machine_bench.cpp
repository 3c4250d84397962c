// Limits of one core: copy bandwidth, bandwidth of random rows, and fused multiply-adds in float32.
//
//   machine_bench                prints {"copy": GB/s, "gather_128": GB/s, "gather_256": GB/s, "fma": GFLOP/s}
//
// bench/machine.py compiles it with -march=native and runs it before the benchmarks. Copied bytes count twice, read and
// written. A gather reads every cache line of random rows of 128 or 256 bytes in 256 MiB and prefetches a block of rows
// ahead. Times are processor times of the thread; each figure is the best of several runs.
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <vector>

namespace {

constexpr std::size_t kBytes = std::size_t{256} << 20;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLine = 64;
constexpr std::size_t kAhead[] = {32, 64, 128, 256};  // rows; the best distance counts
constexpr std::size_t kRows = 200'000;
constexpr int kRuns = 7;

double seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::byte* huge_pages() {
    auto* bytes = static_cast<std::byte*>(std::aligned_alloc(kHugePage, kBytes));
    if (bytes == nullptr) std::abort();
    ::madvise(bytes, kBytes, MADV_HUGEPAGE);
    std::memset(bytes, 1, kBytes);
    return bytes;
}

template <typename Prepare, typename Work>
double best(Prepare prepare, Work work) {
    double least = 1e9;
    for (int run = 0; run < kRuns; ++run) {
        prepare();
        const double start = seconds();
        work();
        least = std::min(least, seconds() - start);
    }
    return least;
}

// While it reads one block of rows, it fetches the next one into the second-level cache.
std::uint64_t gather(const std::byte* table, std::size_t stride, const std::vector<std::uint32_t>& rows,
                     std::size_t block) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (i + block < rows.size()) {
            const std::byte* next = table + rows[i + block] * stride;
            for (std::size_t at = 0; at < stride; at += kLine) __builtin_prefetch(next + at, 0, 2);
        }
        const std::byte* row = table + rows[i] * stride;
        for (std::size_t at = 0; at < stride; at += kLine) {
            std::uint64_t word = 0;
            std::memcpy(&word, row + at, sizeof word);
            sum += word;
        }
    }
    return sum;
}

#ifdef __AVX512F__
constexpr std::size_t kWidth = 64;
#else
constexpr std::size_t kWidth = 32;
#endif
using Vector = float __attribute__((vector_size(kWidth)));
constexpr int kChains = 12;  // two ports times four to five cycles of latency, in sixteen registers
constexpr int kSteps = 10'000'000;

float multiply_add() {
    Vector sums[kChains] = {};
    Vector factor = {};
    Vector term = {};
    factor += 0.5F;
    term += 1.0F;
    for (int step = 0; step < kSteps; ++step) {
        for (Vector& sum : sums) sum = sum * factor + term;
    }
    float total = 0.0F;
    for (const Vector& sum : sums) total += sum[0];
    return total;
}

}  // namespace

int main() {
    std::byte* table = huge_pages();
    std::byte* other = huge_pages();
    std::uint64_t sum = 0;
    const double copied = best([] {}, [&] { std::memcpy(other, table, kBytes); });
    std::printf("{\"copy\": %.2f", 2.0 * static_cast<double>(kBytes) / copied * 1e-9);
    std::mt19937_64 random(1);  // NOLINT(bugprone-random-generator-seed): the same for every run
    std::vector<std::uint32_t> rows(kRows);
    for (const std::size_t stride : {std::size_t{128}, std::size_t{256}}) {
        const auto draw = [&] {
            for (std::uint32_t& row : rows) row = static_cast<std::uint32_t>(random() % (kBytes / stride));
        };
        double spent = 1e9;
        for (const std::size_t ahead : kAhead) {
            const double took = best(draw, [&] { sum += gather(table, stride, rows, ahead); });
            spent = std::min(spent, took);
        }
        std::printf(", \"gather_%zu\": %.2f", stride, static_cast<double>(kRows * stride) / spent * 1e-9);
    }
    float total = 0.0F;
    const double multiplied = best([] {}, [&] { total += multiply_add(); });
    constexpr double kFlops = 2.0 * kSteps * kChains * static_cast<double>(kWidth) / sizeof(float);
    std::printf(", \"fma\": %.1f}\n", kFlops / multiplied * 1e-9);
    std::free(table);
    std::free(other);
    return sum > 0 && total > 0.0F ? 0 : 1;
}
