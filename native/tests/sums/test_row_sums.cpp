// Row sums against float64, on the instruction set of this process; and tables that are damaged.
#include "sums/row_sums.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"

using namespace karec;

namespace {

constexpr std::size_t kNumbers = 5;

struct Table {
    std::vector<float> rows;
    std::vector<std::int64_t> code_columns{2, 0};
    std::vector<std::int64_t> code_sizes{3, 9};
    std::vector<std::int64_t> knot_counts;
    std::vector<double> knots;
    std::size_t width;

    Table(std::size_t columns, std::mt19937& random) : width(columns) {
        std::normal_distribution<float> normal;
        std::size_t n_rows = 1 + 3 + 9;
        for (std::size_t f = 0; f < kNumbers; ++f) {
            knot_counts.push_back(static_cast<std::int64_t>(1 + random() % 20));
            double knot = -1.0;
            for (std::int64_t k = 0; k < knot_counts.back(); ++k)
                knots.push_back(knot += 0.01 + static_cast<double>(random() % 100) * 0.003);
            n_rows += static_cast<std::size_t>(knot_counts.back()) + 1;
        }
        for (std::size_t i = 0; i < n_rows * width; ++i) rows.push_back(normal(random));
    }
    Result<RowSums> sums() const {
        return RowSums::from_table({std::as_bytes(std::span(rows)), code_columns, code_sizes, knot_counts, knots}, 3,
                                   {{"a", width - 1}, {"b", 1}});
    }
    double sum(const std::int64_t* codes, const float* numbers, std::size_t j) const {
        const auto at = [&](std::size_t r) { return static_cast<double>(rows[r * width + j]); };
        double total = at(0);
        std::size_t first = 1;
        for (std::size_t c = 0; c < 2; ++c) {
            const std::int64_t code = codes[code_columns[c]];
            total += at(first + static_cast<std::size_t>(code >= 0 && code < code_sizes[c] ? code : 0));
            first += static_cast<std::size_t>(code_sizes[c]);
        }
        const double* knot = knots.data();
        for (std::size_t f = 0; f < knot_counts.size(); ++f) {
            const auto n = static_cast<std::size_t>(knot_counts[f]);
            const double x = static_cast<double>(numbers[f]);
            const auto above = static_cast<std::size_t>(std::upper_bound(knot, knot + n, x) - knot);
            if (x != 0 && above == 0) total += at(first) + (x - knot[0]) * at(first + n);
            if (x != 0 && above == n) total += at(first + n - 1) + (x - knot[n - 1]) * at(first + n);
            if (x != 0 && above > 0 && above < n) {
                const double share = (x - knot[above - 1]) / (knot[above] - knot[above - 1]);
                total += (1 - share) * at(first + above - 1) + share * at(first + above);
            }
            knot += n;
            first += n + 1;
        }
        return total;
    }
};

struct Items {
    std::vector<std::int64_t> codes;
    std::vector<float> numbers;

    Items(std::size_t n, const Table& table, std::mt19937& random) {
        std::normal_distribution<float> normal;
        const auto draw = [&] {
            const auto knot = static_cast<float>(table.knots[random() % table.knots.size()]);
            return random() % 3 == 0 ? 0.0f : random() % 3 == 0 ? knot : 2 * normal(random);
        };
        for (std::size_t i = 0; i < 3 * n; ++i) codes.push_back(static_cast<std::int64_t>(random() % 14) - 2);
        for (std::size_t i = 0; i < kNumbers * n; ++i) numbers.push_back(draw());
    }
};

}  // namespace

TEST(row_sums_equal_sums_in_float64) {
    std::mt19937 random(1);
    for (const std::size_t width : {2u, 31u, 32u, 33u, 64u, 100u, 129u, 581u}) {
        const Table table(width, random);
        const auto sums = table.sums();
        CHECK(sums.ok());
        for (const std::size_t n : {0u, 1u, 2u, 17u}) {
            const Items items(n, table, random);
            std::vector<float> out(n * width);
            sums->sum(items.codes, items.numbers, n, out);
            for (std::size_t i = 0; i < n; ++i) {
                for (std::size_t j = 0; j < width; ++j) {
                    const double expected = table.sum(&items.codes[3 * i], &items.numbers[kNumbers * i], j);
                    const float found = j + 1 < width ? out[i * (width - 1) + j] : out[n * (width - 1) + i];
                    CHECK(std::abs(static_cast<double>(found) - expected) < 2e-5);
                }
            }
        }
    }
}

TEST(numbers_that_are_not_finite_stay_in_bounds) {
    std::mt19937 random(2);
    const Table table(40, random);
    const auto sums = table.sums();
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const float x : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 3e38f, -3e38f, 1e-45f}) {
        const std::vector<std::int64_t> codes{std::numeric_limits<std::int64_t>::min(), -1, 1 << 30};
        std::vector<float> out(40);
        sums->sum(codes, std::vector<float>(kNumbers, x), 1, out);
        CHECK(std::isfinite(x) || !std::isfinite(out[0]));
    }
}

TEST(random_changes_of_tables_are_refused_or_stay_in_bounds) {
    std::mt19937 random(3);
    std::size_t refused = 0;
    for (int i = 0; i < 3000; ++i) {
        Table table(33, random);
        const std::int64_t values[] = {-1, 0, 1, 2, 9, 10, 1000, std::int64_t{1} << 40, std::int64_t{1} << 62};
        const std::int64_t value = values[random() % std::size(values)];
        std::vector<std::int64_t>* const lists[] = {&table.code_columns, &table.code_sizes, &table.knot_counts};
        std::vector<std::int64_t>& list = *lists[random() % 3];
        switch (random() % 4) {
            case 0:
                list[random() % list.size()] = value;
                break;
            case 1:
                list.pop_back();
                break;
            case 2:
                table.knots[random() % table.knots.size()] = static_cast<double>(value);
                break;
            default:
                table.rows.resize(table.rows.size() - 1 - random() % 70);
        }
        const auto sums = table.sums();
        refused += sums.ok() ? 0 : 1;
        if (!sums.ok()) continue;
        const Items items(3, table, random);
        std::vector<float> out(99);
        sums->sum(items.codes, items.numbers, 3, out);
    }
    CHECK(refused > 2000 && refused < 3000);
}
