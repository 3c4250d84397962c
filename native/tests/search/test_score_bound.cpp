// The bound of search/score_bound.hpp against exact scores, tile by tile. Run once for each instruction set.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/half.hpp"
#include "check.hpp"
#include "kernels/kernels.hpp"
#include "search/score_bound.hpp"

using namespace karec;

namespace {

constexpr std::size_t kQueries = 21;

float drawn(std::mt19937_64& random, int least_exponent, int most_exponent) {
    std::normal_distribution<float> normal;
    const auto span = static_cast<std::uint64_t>(most_exponent) - static_cast<std::uint64_t>(least_exponent) + 1;
    return std::ldexp(normal(random), least_exponent + static_cast<int>(random() % span));
}

// A tile of rows, and the results of the search and of the kernel.
struct Case {
    Generation g;
    std::vector<float> queries;  // kQueries of them
    std::size_t seen = 0;        // pairs of a row and a query
    std::size_t infinite = 0;    // of them, margins
    std::size_t broken = 0;      // promises
};

void check_tile(Case& c) {
    const Generation& g = c.g;
    const BoundKernels& kernels = karec::kernels().bounds;
    const std::size_t dim = g.format.padded_dim();
    const std::size_t steps = (dim + kernels.dim_step - 1) / kernels.dim_step;
    std::vector<std::byte> block(kTile * steps * kernels.dim_step * kernels.element_bytes);
    std::vector<std::byte> panel(kColumns * steps * kernels.dim_step * kernels.element_bytes);
    std::vector<PaddedQueries> padded_queries;
    std::vector<float> errors;
    double largest = 0.0;
    for (std::size_t q = 0; q < kQueries; ++q) {
        const Query query(std::span<const float>(c.queries).subspan(q * g.format.dim, g.format.dim));
        padded_queries.emplace_back(query, g, g.format);
        const PaddedQuery padded = g.format.pad(query.values);
        double square = 0.0;
        for (const float x : padded.values) square += static_cast<double>(x) * x;
        largest = std::max(largest, std::sqrt(square));
        errors.push_back(bound_error(padded.values, std::sqrt(square), kernels));
        kernels.write_column(padded.values.data(), dim, q, panel.data());
    }
    Tile tile;
    tile.read(g, 0, {});
    TileBound bound;
    if (kernels.begin != nullptr) kernels.begin();
    const auto pack = g.format.dtype == DType::float16 ? kernels.pack_float16 : kernels.pack_float32;
    const float square = pack(tile.vectors, dim, block.data());
    bound.compute(g, tile, square, largest);
    std::vector<float> values(kTile * kColumns);
    std::uint32_t masks[kTile];
    std::vector<float> cuts(kColumns, 0.25f);
    std::vector<std::byte> next_block(block.size());
    float next_square = -1.0f;
    const BoundInput in = {.block = block.data(),
                           .panel = panel.data(),
                           .n = kQueries,
                           .dim = dim,
                           .scales = bound.scales(),
                           .offsets = bound.offsets(),
                           .cuts = cuts.data(),
                           .next = tile.vectors,
                           .next_block = next_block.data(),
                           .row_bytes = g.format.stride()};
    const auto reach = g.format.dtype == DType::float16 ? kernels.compare_float16 : kernels.compare_float32;
    const std::uint64_t any = reach(in, values.data(), masks, &next_square);
    if (kernels.end != nullptr) kernels.end();
    if (kernels.can_pack_next)
        c.broken +=
            next_block != block || std::bit_cast<std::uint32_t>(next_square) != std::bit_cast<std::uint32_t>(square);
    for (std::size_t q = 0; q < kQueries; ++q) {
        std::int32_t rows[kTile];
        float scores[kTile];
        tile.list_rows(rows);
        padded_queries[q].dot(g, rows, tile.vectors, nullptr, kTile, scores);
        adjust_scores(g, padded_queries[q], rows, nullptr, nullptr, kTile, scores);
        const float margin = bound.margin().margin_of(errors[q]);
        for (std::size_t i = 0; i < kTile; ++i) {
            const float value = values[i * kColumns + q];
            const bool passes = !(value < cuts[q]);
            c.broken += (masks[i] >> q & 1) != passes || (passes && (any >> i & 1) == 0);
            ++c.seen;
            c.infinite += !std::isfinite(margin);
            if (!std::isfinite(margin)) continue;
            c.broken += !std::isfinite(scores[i]) || !std::isfinite(value);
            c.broken += scores[i] < below(value, margin) || scores[i] > above(value, margin);
        }
    }
}

enum class Writes { none, adjusted, calibrated, both };

Case make(DType dtype, std::size_t dim, int least_exponent, int most_exponent, Writes writes, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    Case c{Generation(RowFormat{dim, dtype}), {}};
    c.g.versions[1].number = 1;
    c.g.n_codes = 2;
    const bool calibrated = writes == Writes::calibrated || writes == Writes::both;
    if (calibrated) {
        c.g.versions[0].scale = std::abs(drawn(random, -3, 3));
        c.g.versions[1].scale = 1e-3f;
        c.g.versions[1].offset = drawn(random, least_exponent, most_exponent);
    }
    c.g.id_map = IdMap(kTile);
    c.g.grow(kTile);
    c.g.codes.grow(kTile);
    std::vector<float> row(dim);
    for (std::size_t i = 0; i < kTile; ++i) {
        for (std::size_t d = 0; d < dim; ++d) {
            row[d] = drawn(random, least_exponent, most_exponent);
            // Every other row cancels: its second half is the negative of the first, almost.
            if (i % 2 == 0 && d >= dim / 2) row[d] = -row[d - dim / 2] * (1.0f + 0x1p-9f);
        }
        c.g.write_row(i, static_cast<std::int64_t>(i), MatrixView{row.data(), 1, dim, DType::float32}, i % 3 == 0, {},
                      0);
    }
    if (writes == Writes::adjusted || writes == Writes::both) {
        c.g.adjustments.grow(kTile);
        for (std::size_t i = 0; i < kTile; ++i) {
            c.g.adjust(i, {drawn(random, -4, 4), drawn(random, least_exponent, most_exponent)});
        }
    }
    for (std::size_t q = 0; q < kQueries * dim; ++q) {
        // Of all but the last queries the halves are alike, so that rows cancel.
        const bool repeated = q % dim >= dim / 2 && q / dim + 1 < kQueries && dim % 2 == 0;
        c.queries.push_back(repeated ? c.queries[q - dim / 2] : drawn(random, least_exponent, most_exponent));
    }
    return c;
}

constexpr Writes kAllWrites[] = {Writes::none, Writes::adjusted, Writes::calibrated, Writes::both};

}  // namespace

TEST(exact_scores_are_within_the_margin_of_approximate_scores) {
    std::uint64_t seed = 0;
    for (const Writes writes : kAllWrites) {
        for (const std::size_t dim : {1u, 16u, 37u, 64u, 130u, 1000u}) {
            for (int round = 0; round < 5; ++round) {
                Case halves = make(DType::float16, dim, -14, 4, writes, ++seed);
                check_tile(halves);
                CHECK(halves.broken == 0 && halves.infinite == 0);
                Case floats = make(DType::float32, dim, -20, 20, writes, ++seed);
                check_tile(floats);
                CHECK(floats.broken == 0 && floats.infinite == 0);
            }
        }
    }
}

TEST(margins_bound_overflow_and_underflow_or_are_infinite) {
    std::uint64_t seed = 1000;
    std::size_t infinite = 0;
    std::size_t seen = 0;
    for (const Writes writes : kAllWrites) {
        for (const int least : {-149, -126, -80, -60, 0, 40, 56, 63, 100, 120}) {
            Case c = make(DType::float32, 40, least, least + 4, writes, ++seed);
            check_tile(c);
            CHECK(c.broken == 0);
            infinite += c.infinite;
            seen += c.seen;
        }
    }
    CHECK(infinite > 0 && infinite < seen / 2);
}

TEST(margins_are_narrow_for_normal_rows) {
    const Case c = make(DType::float32, 64, 0, 0, Writes::none, 3);
    const BoundKernels& kernels = karec::kernels().bounds;
    Tile tile;
    tile.read(c.g, 0, {});
    TileBound bound;
    bound.compute(c.g, tile, 64.0f, 8.0);
    const std::vector<float> query(64, 1.0f);
    const float margin = bound.margin().margin_of(bound_error(query, 8.0, kernels));
    CHECK(margin < 64.0f * (kernels.unit_roundoff > 0.0 ? 0.008f : 2e-5f));
    CHECK(margin > 0.0f);
}
