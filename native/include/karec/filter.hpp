// Filter is a condition on columns of an item index: the items that a search may return.
//
//   const std::int64_t tags[] = {3, 8};
//   const double limits[] = {20.0};
//   const karec::FilterTerm terms[] = {
//       {.op = karec::FilterOp::in, .column = "tag", .integers = tags, .is_category = true},
//       {.op = karec::FilterOp::at_least, .column = "price", .numbers = limits},
//       {.op = karec::FilterOp::negate, .n_parts = 1},
//       {.op = karec::FilterOp::all, .n_parts = 2},
//   };
//   const auto filter = karec::Filter::compile(terms);  // tag in (3, 8) and not price >= 20
//   std::vector<std::uint8_t> mask(view.n_rows());
//   if (Status status = view.mask(*filter, mask); !status.ok()) return status;
//   view.search_all(queries, mask, out, counts);
//
// Terms are in postfix order: a join follows its parts. A value is missing if it is NaN, or negative in a category. As
// in SQL, a comparison with a missing value is unknown, and so is the negation of an unknown condition. An item
// satisfies the filter if the condition is true.
//
// Threads: any number of threads may use a filter. No function throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::size_t kMaxFilterTerms = 96;     // comparisons of a filter
inline constexpr std::size_t kMaxFilterValues = 1000;  // of one comparison
inline constexpr std::size_t kMaxFilterDepth = 17;     // conditions inside each other

enum class FilterOp : std::uint32_t {
    all = 1,         // all of the n_parts conditions before it are true
    any = 2,         // one of the n_parts conditions before it is true
    negate = 3,      // the condition before it is false
    in = 4,          // the column has one of the values; with one value: it is equal
    less = 5,        // the column is less than the value
    at_least = 6,    // the column is not less than the value
    between = 7,     // the column is from the first to the second value, which are included
    is_missing = 8,  // the column is missing; this takes no values and is never unknown
};

// A comparison or a join. A column of integers or booleans is compared with `integers`, a floating one with `numbers`,
// which are rounded to its type.
struct FilterTerm {
    FilterOp op;
    std::size_t n_parts = 0;
    std::string_view column;
    std::span<const std::int64_t> integers;
    std::span<const double> numbers;
    bool is_category = false;  // negative values are missing
};

class KAREC_API Filter {
  public:
    // Copies the terms. No terms: every item satisfies the filter. invalid_argument, with the position of the term: an
    // unknown op, a number of values or parts that does not fit, NaN or infinity, or a limit above that is exceeded.
    static Result<Filter> compile(std::span<const FilterTerm> terms) noexcept;

  private:
    friend class IndexView;
    struct Program;
    std::shared_ptr<const Program> program_;
};

}  // namespace karec
