// The C interface of Filter.
#include <algorithm>
#include <span>
#include <vector>

#include "c_api/arguments.hpp"
#include "karec/filter.hpp"

struct karec_filter {
    karec::Filter filter;
};

using namespace karec;
using namespace karec::c;

namespace {

static_assert(static_cast<int>(FilterOp::all) == KAREC_FILTER_ALL);
static_assert(static_cast<int>(FilterOp::in) == KAREC_FILTER_IN);
static_assert(static_cast<int>(FilterOp::is_missing) == KAREC_FILTER_IS_MISSING);

template <class T>
std::span<const T> to_values(const T* values, std::size_t n, const char* name) {
    return values == nullptr ? std::span<const T>() : to_span(values, n, name);
}

FilterTerm to_term(const karec_filter_term& given) {
    if (given.n_values > 0 && given.integers == nullptr && given.numbers == nullptr) refuse("terms->integers is NULL");
    return {static_cast<FilterOp>(given.op),
            given.n_parts,
            given.column == nullptr ? "" : given.column,
            to_values(given.integers, given.n_values, "terms->integers"),
            to_values(given.numbers, given.n_values, "terms->numbers"),
            given.is_category != 0};
}

}  // namespace

karec_status karec_filter_create(const karec_filter_term* terms, size_t n_terms, karec_filter** filter) {
    return catch_errors([&]() -> Status {
        require(filter, "filter");
        check_struct_count(terms, n_terms, "terms");
        std::vector<FilterTerm> converted;
        converted.reserve(std::min(n_terms, kMaxFilterTerms));
        for (std::size_t i = 0; i < n_terms; ++i) converted.push_back(to_term(read_nth_struct(terms, i, "terms")));
        auto compiled = Filter::compile(converted);
        if (compiled.ok()) *filter = new karec_filter{std::move(compiled.value())};
        return compiled.status();
    });
}

karec_status karec_filter_mask(const karec_filter* filter, const karec_index* index, uint8_t* mask, size_t n_mask) {
    return karec_filter_update(filter, index, 0, mask, n_mask);
}

karec_status karec_filter_update(const karec_filter* filter, const karec_index* index, uint64_t generation,
                                 uint8_t* mask, size_t n_mask) {
    return read_index(index, [&](const IndexView& view) {
        const Filter& compiled = require(filter, "filter").filter;
        return view.update_mask(compiled, generation, to_span(mask, n_mask, "mask"));
    });
}

void karec_filter_close(karec_filter* filter) {
    delete filter;
}
