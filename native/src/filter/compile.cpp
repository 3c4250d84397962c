// Filter::compile: checks the terms, and moves negations to the comparisons.
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/boundary.hpp"
#include "filter/program.hpp"

namespace karec {
namespace {

std::string plural(std::size_t n, const char* noun) {
    return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

// Returns why the term is refused, or "".
std::string find_error(const FilterTerm& term) {
    const std::size_t n_values = term.integers.size() + term.numbers.size();
    if (term.op < FilterOp::all || term.op > FilterOp::is_missing) {
        return "op is " + std::to_string(static_cast<std::uint32_t>(term.op)) + ", expected 1 to 8";
    }
    if (is_join(term.op) || term.op == FilterOp::negate) {
        if (n_values != 0 || !term.column.empty()) return "a join has a column or values";
        if (term.n_parts == 0 || (term.op == FilterOp::negate && term.n_parts != 1)) {
            return "a join has " + plural(term.n_parts, "part");
        }
        return "";
    }
    if (term.column.empty() || term.n_parts != 0) return "a comparison has no column, or it has parts";
    if (!term.integers.empty() && !term.numbers.empty()) return "it has integers and numbers, expected one of them";
    if (n_values > kMaxFilterValues) {
        return plural(n_values, "value") + ", expected at most " + std::to_string(kMaxFilterValues);
    }
    const std::size_t expected = term.op == FilterOp::is_missing ? 0 : term.op == FilterOp::between ? 2 : 1;
    if (term.op != FilterOp::in && n_values != expected) {
        return plural(n_values, "value") + ", expected " + std::to_string(expected);
    }
    if (!std::ranges::all_of(term.numbers, [](double x) { return std::isfinite(x); })) return "a number is not finite";
    return "";
}

// Returns the depth of the condition.
Result<std::size_t> check_terms(std::span<const FilterTerm> terms) {
    std::vector<std::size_t> depths;  // of the conditions that no join has yet
    std::size_t n_comparisons = 0;
    for (std::size_t i = 0; i < terms.size(); ++i) {
        const std::size_t n_parts = terms[i].n_parts;
        std::string error = find_error(terms[i]);
        if (error.empty() && n_parts > depths.size()) {
            error = "it joins " + plural(n_parts, "condition") + ", there are " + std::to_string(depths.size());
        }
        if (!error.empty()) return Status::invalid("term " + std::to_string(i) + " of the filter: " + error);
        const auto first_part = depths.end() - static_cast<std::ptrdiff_t>(n_parts);
        const std::size_t depth = 1 + (n_parts == 0 ? 0 : *std::max_element(first_part, depths.end()));
        depths.erase(first_part, depths.end());
        depths.push_back(depth);
        n_comparisons += n_parts == 0;
    }
    if (depths.size() > 1) {
        return Status::invalid("the filter has " + plural(depths.size(), "condition") + " that nothing joins");
    }
    if (n_comparisons > kMaxFilterTerms) {
        return Status::invalid("the filter has " + plural(n_comparisons, "comparison") + ", expected at most " +
                               std::to_string(kMaxFilterTerms));
    }
    return depths.empty() ? 0 : depths.front();
}

}  // namespace

Result<Filter> Filter::compile(std::span<const FilterTerm> terms) noexcept {
    return at_boundary([&]() -> Result<Filter> {
        const auto depth = check_terms(terms);
        if (!depth.ok()) return depth.status();
        if (depth.value() > kMaxFilterDepth) {
            return Status::invalid("the filter has " + std::to_string(depth.value()) +
                                   " conditions inside each other, expected at most " +
                                   std::to_string(kMaxFilterDepth));
        }
        auto program = std::make_shared<Program>();
        std::vector<bool> wanted(1, true);  // of the conditions that were not reached yet, from the last term
        for (std::size_t i = terms.size(); i-- > 0;) {
            const FilterTerm& term = terms[i];
            const bool is_wanted = wanted.back();
            wanted.pop_back();
            wanted.insert(wanted.end(), term.n_parts, is_wanted != (term.op == FilterOp::negate));
            if (term.op == FilterOp::negate) continue;
            FilterStep step;
            step.op = term.op;
            step.is_wanted = is_wanted;
            step.n_parts = term.n_parts;
            if (is_join(term.op)) step.op = (term.op == FilterOp::all) == is_wanted ? FilterOp::all : FilterOp::any;
            step.column = term.column;
            step.integers.assign(term.integers.begin(), term.integers.end());
            step.numbers.assign(term.numbers.begin(), term.numbers.end());
            step.is_category = term.is_category;
            program->steps.push_back(std::move(step));
        }
        std::ranges::reverse(program->steps);
        Filter filter;
        filter.program_ = std::move(program);
        return filter;
    });
}

}  // namespace karec
