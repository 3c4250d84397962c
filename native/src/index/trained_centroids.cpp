// k-means (Lloyd 1982) with float32 dot products and double sums, each in a fixed order: the same bits on every
// machine.
//
// The sample has kSample items per list, and the first centroids are a sample of it, both by selection sampling (Knuth,
// TAOCP 2, 3.4.2, algorithm S) from a splitmix64 stream. kRounds times, each item of the sample goes to its nearest
// centroid and each centroid to the mean of its items; a centroid without items moves to a random one.
#include <algorithm>
#include <numeric>

#include "index/generation.hpp"
#include "index/row_lists.hpp"

namespace karec {
namespace {

constexpr std::size_t kSample = 64;  // items per list
constexpr std::size_t kRounds = 8;

// splitmix64 (Steele, Lea, Flood 2014), as 53-bit numbers in [0, 1).
class Stream {
  public:
    explicit Stream(std::uint64_t seed) : state_(seed) {}
    double next() noexcept {
        std::uint64_t h = state_ += 0x9E3779B97F4A7C15u;
        h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
        h = (h ^ h >> 27) * 0x94D049BB133111EBu;
        return static_cast<double>((h ^ h >> 31) >> 11) * 0x1p-53;
    }

  private:
    std::uint64_t state_;
};

// n of the rows, in their order.
std::vector<std::int32_t> sample_rows(std::span<const std::int32_t> rows, std::size_t n, Stream& stream) {
    std::vector<std::int32_t> sample;
    sample.reserve(n);
    for (std::size_t i = 0; i < rows.size() && sample.size() < n; ++i) {
        const auto left = static_cast<double>(rows.size() - i);
        if (left * stream.next() < static_cast<double>(n - sample.size())) sample.push_back(rows[i]);
    }
    return sample;
}

}  // namespace

std::vector<float> train_centroids(const Generation& g, std::span<const std::int32_t> rows, std::size_t n_lists,
                                   std::uint64_t seed) {
    Stream stream(seed);
    const std::vector<std::int32_t> sample = sample_rows(rows, std::min(rows.size(), kSample * n_lists), stream);
    const std::size_t dim = g.format.dim;
    const std::size_t width = g.exact_format().padded_dim();
    std::vector<float> centroids(n_lists * width);
    const std::vector<std::int32_t> first = sample_rows(sample, n_lists, stream);
    for (std::size_t list = 0; list < n_lists; ++list) {
        read_vector(g, static_cast<std::size_t>(first[list]), &centroids[list * width]);
    }
    std::vector<std::uint16_t> list_of(sample.size());
    std::vector<float> x(width);
    for (std::size_t round = 0; round < kRounds; ++round) {
        RowLists(g.exact_format(), 0, centroids).find_nearest(g, sample, list_of);
        std::vector<double> sums(n_lists * dim);
        std::vector<std::size_t> counts(n_lists);
        for (std::size_t i = 0; i < sample.size(); ++i) {
            read_vector(g, static_cast<std::size_t>(sample[i]), x.data());
            double* sum = &sums[list_of[i] * dim];
            for (std::size_t d = 0; d < dim; ++d) sum[d] += double{x[d]};
            ++counts[list_of[i]];
        }
        for (std::size_t list = 0; list < n_lists; ++list) {
            float* centroid = &centroids[list * width];
            if (counts[list] == 0) {
                const auto at = static_cast<std::size_t>(stream.next() * static_cast<double>(sample.size()));
                read_vector(g, static_cast<std::size_t>(sample[at]), centroid);
                continue;
            }
            for (std::size_t d = 0; d < dim; ++d) {
                centroid[d] = static_cast<float>(sums[list * dim + d] / static_cast<double>(counts[list]));
            }
        }
    }
    return centroids;
}

}  // namespace karec
