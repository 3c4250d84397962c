#include "sums/row_sums.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/scratch.hpp"
#include "kernels/kernels.hpp"

namespace karec {
namespace {

constexpr std::size_t kMaxWidth = std::size_t{1} << 20;
constexpr std::size_t kBoundsStep = 16;   // compared together
constexpr std::size_t kItemsAtOnce = 32;  // their sums fit into the second-level cache
constexpr std::size_t kCachedRows = 256;  // of a code column: rows of larger ones are fetched before they are added
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The smallest float ≥ x, so that a float is ≥ it if and only if it is ≥ x.
float round_up(double x) noexcept {
    const auto rounded = static_cast<float>(x);
    return static_cast<double>(rounded) < x ? std::nextafter(rounded, kInfinity) : rounded;
}

}  // namespace

// The rows of an item and their weights.
struct RowSums::RowList {
    explicit RowList(std::size_t max_rows) : rows(max_rows), weights(max_rows) {}
    void add(const float* row, double weight) noexcept {
        rows[n] = row;
        weights[n++] = static_cast<float>(weight);
    }
    ScratchArray<const float*> rows;
    ScratchArray<float> weights;
    std::size_t n = 0;
};

Result<RowSums> RowSums::from_table(const RowSumsTable& table, std::size_t n_codes, std::vector<Output> outputs) {
    RowSums sums;
    sums.n_codes_ = n_codes;
    sums.outputs_ = std::move(outputs);
    for (const Output& output : sums.outputs_) {
        if (output.width == 0 || output.width > kMaxWidth) return Status::bad_format("an output has no columns");
        sums.width_ += output.width;
        if (sums.width_ > kMaxWidth) return Status::bad_format("outputs have more than 2^20 columns");
    }
    if (sums.width_ == 0) return Status::bad_format("it has no outputs");
    sums.stride_ = (sums.width_ + kSumColumns - 1) / kSumColumns * kSumColumns;
    sums.n_rows_ = table.rows.size() / (sums.width_ * sizeof(float));
    std::size_t n_rows = 1;  // the base
    Status status = sums.read_codes(table, n_rows);
    if (status.ok()) status = sums.read_knots(table, n_rows);
    if (status.ok() && (n_rows != sums.n_rows_ || n_rows * sums.width_ * sizeof(float) != table.rows.size())) {
        status = Status::bad_format("rows has another shape, expected (" + std::to_string(n_rows) + ", " +
                                    std::to_string(sums.width_) + ")");
    }
    if (status.ok()) status = sums.copy_rows(table.rows);
    if (!status.ok()) return status;
    return sums;
}

Status RowSums::read_codes(const RowSumsTable& table, std::size_t& n_rows) {
    if (table.code_columns.size() != table.code_sizes.size()) {
        return Status::bad_format("code_columns and code_sizes have different lengths");
    }
    for (std::size_t c = 0; c < table.code_columns.size(); ++c) {
        const auto column = static_cast<std::uint64_t>(table.code_columns[c]);
        const auto size = static_cast<std::uint64_t>(table.code_sizes[c]);
        if (column >= n_codes_ || size == 0 || size > n_rows_) {
            return Status::bad_format("code column " + std::to_string(c) + " is not a column, or has no rows");
        }
        codes_.push_back({column, size, n_rows});
        n_rows += size;  // at most n_rows_ for each column
    }
    return {};
}

Status RowSums::read_knots(const RowSumsTable& table, std::size_t& n_rows) {
    knots_.assign(table.knots.begin(), table.knots.end());
    std::size_t first = 0;
    for (const std::int64_t given : table.knot_counts) {
        const auto count = static_cast<std::uint64_t>(given);
        if (count == 0 || count > knots_.size() - first) return Status::bad_format("knot_counts and knots do not fit");
        numbers_.push_back({first, count, n_rows});
        n_bounds_ = std::max(n_bounds_, (count + kBoundsStep - 1) / kBoundsStep * kBoundsStep);
        n_rows += count + 1;
        first += count;
    }
    if (first != knots_.size()) return Status::bad_format("knot_counts and knots do not fit");
    if (n_bounds_ * numbers_.size() > kMaxWidth) return Status::bad_format("a number has too many knots");
    per_width_.resize(knots_.size());
    bounds_.assign(n_bounds_ * numbers_.size(), kInfinity);
    for (std::size_t f = 0; f < numbers_.size(); ++f) {
        const auto& [first_knot, n_knots, _] = numbers_[f];
        for (std::size_t k = first_knot; k < first_knot + n_knots; ++k) {
            const bool is_first = k == first_knot;
            if (!std::isfinite(knots_[k]) || (!is_first && !(knots_[k] > knots_[k - 1]))) {
                return Status::bad_format("knots are not finite and ascending");
            }
            bounds_[f * n_bounds_ + k - first_knot] = round_up(knots_[k]);
            if (!is_first) per_width_[k - 1] = 1.0 / (knots_[k] - knots_[k - 1]);
        }
    }
    return {};
}

Status RowSums::copy_rows(std::span<const std::byte> rows) {
    memory_ = Buffer(bytes());
    const std::span<float> copy = memory_.as<float>();
    rows_ = copy.data();
    for (std::size_t r = 0; r < n_rows_; ++r) {
        const std::span<float> row = copy.subspan(r * stride_, width_);
        std::memcpy(row.data(), rows.data() + r * width_ * sizeof(float), width_ * sizeof(float));
        if (!std::ranges::all_of(row, [](float x) { return std::isfinite(x); })) {
            return Status::bad_format("row " + std::to_string(r) + " has a number that is not finite");
        }
    }
    return {};
}

void RowSums::sum(std::span<const std::int64_t> codes, std::span<const float> numbers, std::size_t n,
                  std::span<float> out) const {
    RowList list(kItemsAtOnce * (1 + codes_.size() + 2 * numbers_.size()));
    ScratchArray<float> sums(kItemsAtOnce * stride_);
    std::uint32_t ends[kItemsAtOnce];
    for (std::size_t first = 0; first < n; first += kItemsAtOnce) {
        const std::size_t n_block = std::min(kItemsAtOnce, n - first);
        list.n = 0;
        for (std::size_t i = 0; i < n_block; ++i) {
            find_rows(codes.data() + (first + i) * n_codes_, numbers.data() + (first + i) * numbers_.size(), list);
            ends[i] = static_cast<std::uint32_t>(list.n);
        }
        kernels().sum_rows(&list.rows[0], &list.weights[0], ends, n_block, stride_, &sums[0]);
        float* to = out.data();
        std::size_t column = 0;
        for (const Output& output : outputs_) {
            for (std::size_t i = 0; i < n_block; ++i) {
                std::memcpy(to + (first + i) * output.width, &sums[i * stride_ + column], output.width * sizeof(float));
            }
            column += output.width;
            to += n * output.width;
        }
    }
}

void RowSums::find_rows(const std::int64_t* codes, const float* numbers, RowList& list) const noexcept {
    constexpr std::size_t kLine = 64 / sizeof(float);
    list.add(row(0), 1.0);
    for (const auto& [column, size, first_row] : codes_) {
        const auto code = static_cast<std::uint64_t>(codes[column]);
        const float* found = row(first_row + (code < size ? code : 0));
        if (size > kCachedRows) {
            for (std::size_t at = 0; at < stride_; at += kLine) __builtin_prefetch(found + at, 0, 2);
        }
        list.add(found, 1.0);
    }
    for (std::size_t f = 0; f < numbers_.size(); ++f) add_number(f, numbers[f], list);
}

void RowSums::add_number(std::size_t f, float x, RowList& list) const noexcept {
    if (x == 0.0f) return;
    const auto& [first_knot, n_knots, first_row] = numbers_[f];
    const float* bounds = bounds_.data() + f * n_bounds_;
    unsigned n_below = 0;
    for (std::size_t b = 0; b < n_bounds_; ++b) n_below += bounds[b] <= x ? 1u : 0u;
    const std::size_t end = std::min<std::size_t>(n_below, n_knots);  // +inf is not below the padding; NaN has 0
    const std::size_t last = first_knot + (end == 0 ? 0 : end - 1);
    const double distance = static_cast<double>(x) - knots_[last];
    const float* knot = row(first_row + last - first_knot);
    if (end == 0 || end == n_knots) {
        list.add(knot, 1.0);
        list.add(row(first_row + n_knots), distance);
        return;
    }
    const double share = distance * per_width_[last];
    list.add(knot, 1.0 - share);
    list.add(knot + stride_, share);
}

}  // namespace karec
