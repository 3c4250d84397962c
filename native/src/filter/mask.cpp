// IndexView::mask and update_mask: the rows of a generation whose item is open and satisfies a filter.
//
// Algorithm  Rows are read in windows of kWindow, which are in the cache while every comparison marks its rows there.
//            An update reads only the words of 64 rows that changed after the mask's generation.
// Cost       O(rows read · intervals of the comparisons), for many intervals O(rows read · log intervals).
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/boundary.hpp"
#include "base/half.hpp"
#include "base/scratch.hpp"
#include "filter/intervals.hpp"
#include "index/generation.hpp"
#include "index/index_checks.hpp"
#include "karec/index_view.hpp"
#include "rules/column_values.hpp"

namespace karec {
namespace {

constexpr std::size_t kWord = 64;  // rows
constexpr std::size_t kWindow = 32 * kWord;
// A page has more rows, as a power of two: a window is in one page.
static_assert(kLargePage / sizeof(std::int64_t) >= kWindow);
// Measured on 1e6 rows (bench/recall.py): a table costs as much as 4 intervals of int32, a bisection as 8 of int64.
constexpr std::size_t kMinTableIntervals = 4;
constexpr std::size_t kSearchedBytes = 64;                   // of ends of intervals, from which on they are searched
constexpr std::size_t kMaxTableBits = std::size_t{1} << 16;  // 8 KiB, in the first-level cache

// A comparison with a column of one index. The ends of the intervals are of the column's type, or float for float16.
struct Comparison {
    DType dtype;
    Pages<std::byte> column;
    bool is_inverted;  // selects the rows that are in no interval
    std::vector<std::byte> lows;
    std::vector<std::byte> highs;
    std::vector<std::uint64_t> table;  // not empty: bit x − lows[0] is set for each x in an interval
};

template <class T>
std::span<const T> ends(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

// A number of `dtype` nearest to x, infinity if it is beyond the largest one.
template <class T>
T round_number(double x, DType dtype) noexcept {
    const auto rounded = static_cast<T>(x);
    if constexpr (std::is_same_v<T, float>) {
        if (dtype == DType::float16) return half_to_float(float_to_half(rounded));
    }
    return rounded;
}

// The bytes that are in the intervals as bool: 0 is false, and any other byte is true.
std::vector<Interval<std::uint8_t>> to_bool_intervals(const std::vector<Interval<std::uint8_t>>& intervals) {
    std::vector<Interval<std::uint8_t>> flags;
    for (const int flag : {0, 1}) {
        const auto has_flag = [&](const auto& interval) { return interval.low <= flag && flag <= interval.high; };
        if (std::ranges::any_of(intervals, has_flag)) flags.push_back({flag, flag == 0 ? 0 : 255});
    }
    return flags;
}

template <class T>
Status set_intervals(const FilterStep& step, Comparison& comparison) {
    std::vector<IntervalBound<T>> values;
    if constexpr (std::is_integral_v<T>) {
        values.assign(step.integers.begin(), step.integers.end());
    } else {
        for (const double x : step.numbers) values.push_back(round_number<T>(x, comparison.dtype));
    }
    if (values.size() != step.integers.size() + step.numbers.size()) {
        return Status::invalid("column '" + step.column + "' has dtype " + name_of(comparison.dtype) +
                               ", the filter compares it with " +
                               (std::is_integral_v<T> ? "floating numbers" : "integers"));
    }
    auto intervals = to_intervals<T>(step, values);
    if constexpr (std::is_same_v<T, std::uint8_t>) {
        if (comparison.dtype == DType::boolean) intervals = to_bool_intervals(intervals);
    }
    for (const auto& [low, high] : intervals) {
        const T bounds[] = {static_cast<T>(low), static_cast<T>(high)};
        const auto bytes = std::as_bytes(std::span(bounds));
        comparison.lows.insert(comparison.lows.end(), bytes.begin(), bytes.begin() + sizeof(T));
        comparison.highs.insert(comparison.highs.end(), bytes.begin() + sizeof(T), bytes.end());
    }
    if constexpr (std::is_integral_v<T>) {
        if (intervals.size() < kMinTableIntervals) return {};
        const auto n_bits = intervals.back().high - intervals.front().low + 1;
        if (n_bits > WideInteger{kMaxTableBits}) return {};
        comparison.table.resize(static_cast<std::size_t>(n_bits) / 64 + 1);
        for (const auto& [low, high] : intervals) {
            for (auto x = low - intervals.front().low; x <= high - intervals.front().low; ++x) {
                comparison.table[static_cast<std::size_t>(x) / 64] |= std::uint64_t{1} << (x % 64);
            }
        }
    }
    return {};
}

// marks[i] = 1 if values[i] is in an interval, else 0.
template <class T>
void mark_values(const Comparison& comparison, const T* __restrict values, std::size_t n,
                 std::uint8_t* __restrict marks) {
    const auto lows = ends<T>(comparison.lows);
    const auto highs = ends<T>(comparison.highs);
    if constexpr (std::is_integral_v<T>) {
        if (!comparison.table.empty()) {
            const std::size_t n_bits = comparison.table.size() * 64;
            for (std::size_t i = 0; i < n; ++i) {
                const auto x = static_cast<std::uint64_t>(values[i]) - static_cast<std::uint64_t>(lows[0]);
                const std::size_t bit = x < n_bits ? x : n_bits - 1;  // the last bit of the table is 0
                marks[i] = comparison.table[bit / 64] >> (bit % 64) & 1;
            }
            return;
        }
    }
    if (lows.size() >= kSearchedBytes / sizeof(T)) {
        for (std::size_t i = 0; i < n; ++i) {
            std::size_t before = 0;  // the last interval that begins at or before the value
            // No branch depends on the value, as that cannot be predicted.
            for (std::size_t left = lows.size(); left > 1; left -= left / 2) {
                before += lows[before + left / 2] <= values[i] ? left / 2 : 0;
            }
            marks[i] = (values[i] >= lows[before]) & (values[i] <= highs[before]);
        }
        return;
    }
    std::memset(marks, 0, n);
    for (std::size_t k = 0; k < lows.size(); ++k) {
        const T low = lows[k];
        const T high = highs[k];
        for (std::size_t i = 0; i < n; ++i) {
            marks[i] = static_cast<std::uint8_t>(marks[i] | ((values[i] >= low) & (values[i] <= high)));
        }
    }
}

// A filter on one generation. Used by one thread.
class Evaluation {
  public:
    Evaluation(const Generation& g, std::span<const FilterStep> steps)
        : g_(g), steps_(steps), marks_((kMaxFilterTerms + 1) * kWindow), values_(kWindow * sizeof(std::int64_t)) {}

    Status bind() {
        for (const FilterStep& step : steps_) {
            if (is_join(step.op)) continue;
            const PagedColumn* column = g_.find_column(step.column);
            if (column == nullptr) return missing_column(step.column);
            const bool is_inverted = step.op == FilterOp::is_missing && step.is_wanted;
            comparisons_.push_back({column->dtype, column->values.pages(), is_inverted, {}, {}, {}});
            Comparison& comparison = comparisons_.back();
            Status status;
            with_type(column->dtype, [&]<class T>(T) { status = set_intervals<T>(step, comparison); });
            if (!status.ok()) return status;
        }
        return {};
    }

    // mask[row] for n rows from `first` on, a multiple of 64; all in one window. Each word has removed rows, or none.
    void mark_rows(std::size_t first, std::size_t n, std::uint8_t* mask) {
        std::size_t height = 0;  // of the stack of conditions in marks_
        const Comparison* comparison = comparisons_.data();
        if (steps_.empty()) std::memset(marks_at(0), 1, n);
        for (const FilterStep& step : steps_) {
            if (is_join(step.op)) {
                height -= step.n_parts - 1;
                for (std::size_t part = 0; part + 1 < step.n_parts; ++part) {
                    join(step.op, marks_at(height + part), n, marks_at(height - 1));
                }
            } else {
                mark_comparison(*comparison++, first, n, marks_at(height++));
            }
        }
        for (std::size_t row = 0; row < n; row += kWord) {
            const std::uint64_t closed = g_.closed.word((first + row) / kWord);
            const std::size_t end = std::min(n, row + kWord);
            const std::uint8_t* marks = marks_at(0);
            if (closed == 0) {
                std::memcpy(mask + first + row, marks + row, end - row);
                continue;
            }
            for (std::size_t i = row; i < end; ++i) {
                mask[first + i] = static_cast<std::uint8_t>(marks[i] & ~(closed >> (i - row)));
            }
        }
    }

  private:
    std::uint8_t* marks_at(std::size_t i) { return &marks_[i * kWindow]; }

    static void join(FilterOp op, const std::uint8_t* __restrict part, std::size_t n, std::uint8_t* __restrict marks) {
        if (op == FilterOp::all) {
            for (std::size_t i = 0; i < n; ++i) marks[i] &= part[i];
        } else {
            for (std::size_t i = 0; i < n; ++i) marks[i] |= part[i];
        }
    }

    void mark_comparison(const Comparison& comparison, std::size_t first, std::size_t n, std::uint8_t* marks) {
        const std::byte* values = read_column(comparison, first, n);
        with_type(comparison.dtype,
                  [&]<class T>(T) { mark_values<T>(comparison, reinterpret_cast<const T*>(values), n, marks); });
        for (std::size_t i = 0; comparison.is_inverted && i < n; ++i) marks[i] ^= 1;
    }

    // The column's values, float for float16. Of a removed row, which a writer may be writing at this moment, any.
    const std::byte* read_column(const Comparison& comparison, std::size_t first, std::size_t n) {
        const std::byte* page = comparison.column.at(first);
        const bool is_half = comparison.dtype == DType::float16;
        if (g_.removed.word(first / kWord) == 0 && !is_half) return page;
        for (std::size_t row = 0; row < n; row += kWord) {
            std::uint64_t left = ~g_.removed.word((first + row) / kWord);
            if (n - row < kWord) left &= (std::uint64_t{1} << (n - row)) - 1;
            while (left != 0) {
                const auto start = static_cast<std::size_t>(std::countr_zero(left));
                const auto length = static_cast<std::size_t>(std::countr_one(left >> start));
                copy_values(comparison.dtype, page, row + start, length);
                if (start + length == kWord) break;
                left &= ~std::uint64_t{0} << (start + length);
            }
        }
        return values_.data();
    }

    void copy_values(DType dtype, const std::byte* page, std::size_t first, std::size_t n) {
        const std::size_t width = size_of(dtype);
        if (dtype != DType::float16) {
            std::memcpy(&values_[first * width], page + first * width, n * width);
            return;
        }
        for (std::size_t i = first; i < first + n; ++i) {
            std::uint16_t half;
            std::memcpy(&half, page + i * width, sizeof half);
            const float value = half_to_float(half);
            std::memcpy(&values_[i * sizeof value], &value, sizeof value);
        }
    }

    const Generation& g_;
    std::span<const FilterStep> steps_;
    std::vector<Comparison> comparisons_;
    ScratchArray<std::uint8_t> marks_;
    ScratchVector<std::byte> values_;
};

}  // namespace

Status IndexView::mask(const Filter& filter, std::span<std::uint8_t> mask) const noexcept {
    return update_mask(filter, 0, mask);
}

Status IndexView::update_mask(const Filter& filter, std::uint64_t generation,
                              std::span<std::uint8_t> mask) const noexcept {
    return at_boundary([&]() -> Status {
        if (Status status = check_held(); !status.ok()) return status;
        const Generation& g = *generation_;
        if (mask.size() != g.n_rows()) {
            return Status::invalid("mask has " + std::to_string(mask.size()) + " entries, generation " +
                                   std::to_string(g.number) + " of the index has " + std::to_string(g.n_rows()) +
                                   " rows");
        }
        if (generation > g.number) {
            return Status::invalid("mask is of generation " + std::to_string(generation) + ", this reads generation " +
                                   std::to_string(g.number));
        }
        const auto steps = filter.program_ == nullptr ? std::span<const FilterStep>() : filter.program_->steps;
        Evaluation evaluation(g, steps);
        if (Status status = evaluation.bind(); !status.ok()) return status;
        const auto is_same = [&](std::size_t row) { return !g.has_changed(row / kWord, generation); };
        const auto has_removed = [&](std::size_t row) { return g.removed.word(row / kWord) != 0; };
        for (std::size_t window = 0; window < g.n_rows(); window += kWindow) {
            const std::size_t end = std::min(window + kWindow, g.n_rows());
            for (std::size_t first = window; first < end;) {
                std::size_t last = first + kWord;
                if (!is_same(first)) {
                    while (last < end && !is_same(last) && has_removed(last) == has_removed(first)) last += kWord;
                    evaluation.mark_rows(first, std::min(last, end) - first, mask.data());
                }
                first = last;
            }
        }
        return {};
    });
}

}  // namespace karec
