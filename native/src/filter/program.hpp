// Filter::Program is a checked condition without negations: each comparison is true, or is false, for the rows that it
// selects.
//
// `negate` moves to the comparisons, by De Morgan's laws. A comparison that must be false selects the rows with another
// value than those it names, and no row whose value is missing. So an unknown comparison selects no row either way, and
// two values are enough where SQL has three.
#pragma once

#include <string>
#include <vector>

#include "karec/filter.hpp"

namespace karec {

struct FilterStep {
    FilterOp op = FilterOp::all;  // all, any, or a comparison
    bool is_wanted = true;        // of a comparison: the outcome for selected rows
    std::size_t n_parts = 0;
    std::string column;
    std::vector<std::int64_t> integers;
    std::vector<double> numbers;
    bool is_category = false;
};

struct Filter::Program {
    std::vector<FilterStep> steps;  // in postfix order
};

inline bool is_join(FilterOp op) noexcept {
    return op == FilterOp::all || op == FilterOp::any;
}

}  // namespace karec
