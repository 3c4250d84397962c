#include "index/row_lists.hpp"

#include <algorithm>
#include <limits>

#include "index/generation.hpp"
#include "kernels/kernels.hpp"

namespace karec {

RowLists::RowLists(RowFormat row_format, std::int64_t version, std::vector<float> padded_centroids)
    : format(row_format), model_version(version), centroids(std::move(padded_centroids)) {
    const std::size_t width = format.padded_dim();
    half_norms.resize(centroids.size() / width);
    for (std::size_t list = 0; list < n(); ++list) {
        double sum = 0.0;
        for (std::size_t d = 0; d < width; ++d) sum += double{centroid(list)[d]} * double{centroid(list)[d]};
        half_norms[list] = static_cast<float>(0.5 * sum);
    }
    ends.assign(n() + 1, 0);
}

std::size_t RowLists::find_list(std::size_t row) const noexcept {
    return static_cast<std::size_t>(std::ranges::upper_bound(ends, static_cast<std::int64_t>(row)) - ends.begin());
}

void RowLists::dot_all(const float* x, float* dots) const noexcept {
    constexpr std::size_t kBlock = 64;
    const std::byte* at[kBlock];
    for (std::size_t first = 0; first < n(); first += kBlock) {
        const std::size_t some = std::min(kBlock, n() - first);
        for (std::size_t i = 0; i < some; ++i) at[i] = reinterpret_cast<const std::byte*>(centroid(first + i));
        kernels().dot_float32(at, nullptr, some, x, format.padded_dim(), dots + first);
    }
}

void RowLists::find_nearest(const Generation& g, std::span<const std::int32_t> rows,
                            std::span<std::uint16_t> list_numbers) const {
    constexpr std::size_t kMinPacked = 8;  // from this number of rows on, packing them is faster
    const std::size_t width = format.padded_dim();
    ScratchVector<float> x(width);
    ScratchVector<float> all(rows.size() < kMinPacked ? n() : 0);
    for (std::size_t i = 0; i < rows.size() && rows.size() < kMinPacked; ++i) {
        read_vector(g, static_cast<std::size_t>(rows[i]), x.data());
        dot_all(x.data(), all.data());
        float best = -std::numeric_limits<float>::infinity();
        list_numbers[i] = 0;
        for (std::size_t list = 0; list < n(); ++list) {
            const float score = all[list] - half_norms[list];
            if (score > best) best = score, list_numbers[i] = static_cast<std::uint16_t>(list);
        }
    }
    if (rows.size() < kMinPacked) return;
    ScratchVector<float> block(width * kBlockItems);
    float dots[kBlockItems];
    float best[kBlockItems];
    for (std::size_t first = 0; first < rows.size(); first += kBlockItems) {
        const std::size_t some = std::min(kBlockItems, rows.size() - first);
        std::ranges::fill(block, 0.0f);
        for (std::size_t i = 0; i < some; ++i) {
            read_vector(g, static_cast<std::size_t>(rows[first + i]), x.data());
            for (std::size_t d = 0; d < width; ++d) block[d * kBlockItems + i] = x[d];
        }
        std::int32_t list_of[kBlockItems] = {};
        std::ranges::fill(best, -std::numeric_limits<float>::infinity());
        for (std::size_t list = 0; list < n(); ++list) {
            kernels().dot_packed(block.data(), width, centroid(list), dots);
            for (std::size_t i = 0; i < kBlockItems; ++i) {
                const float score = dots[i] - half_norms[list];
                list_of[i] = score > best[i] ? static_cast<std::int32_t>(list) : list_of[i];
                best[i] = score > best[i] ? score : best[i];
            }
        }
        for (std::size_t i = 0; i < some; ++i) list_numbers[first + i] = static_cast<std::uint16_t>(list_of[i]);
    }
}

std::size_t RowLists::bytes() const noexcept {
    return (centroids.size() + half_norms.size()) * sizeof(float) + ends.size() * sizeof(std::int64_t);
}

void read_vector(const Generation& g, std::size_t row, float* x) noexcept {
    g.decode(row, x);
    std::fill(x + g.format.dim, x + g.exact_format().padded_dim(), 0.0f);
}

}  // namespace karec
