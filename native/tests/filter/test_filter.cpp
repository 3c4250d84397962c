// Filter: the rows that it marks, updates after writes, and refused terms.
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "karec/item_index.hpp"

using namespace karec;

namespace {

constexpr std::size_t kItems = 5000;

struct Items {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> tags;  // negative: missing
    std::vector<float> prices;       // NaN: missing
    std::vector<float> vectors;
};

Items random_items(std::mt19937_64& random, std::int64_t first_id, std::size_t n) {
    Items items;
    for (std::size_t i = 0; i < n; ++i) {
        items.ids.push_back(first_id + static_cast<std::int64_t>(i));
        items.tags.push_back(static_cast<std::int64_t>(random() % 6) - 1);
        const auto price = static_cast<float>(random() % 40);
        items.prices.push_back(price < 4 ? std::numeric_limits<float>::quiet_NaN() : price);
    }
    items.vectors.assign(n, 1.0f);
    return items;
}

std::vector<Column> columns_of(const Items& items) {
    return {{"tag", DType::int64, std::as_bytes(std::span(items.tags))},
            {"price", DType::float32, std::as_bytes(std::span(items.prices))}};
}

ItemIndex build(const Items& items) {
    const auto columns = columns_of(items);
    ItemIndex::BuildOptions options;
    options.columns = columns;
    return ItemIndex::build(items.ids, {items.vectors.data(), items.ids.size(), 1, DType::float32}, options).value();
}

const std::vector<std::int64_t> kTags = {1, 3};
const std::vector<double> kPrice = {20.0};
const FilterTerm kTagIn{FilterOp::in, 0, "tag", kTags, {}, true};
const FilterTerm kPriceLess{FilterOp::less, 0, "price", {}, kPrice, false};
const FilterTerm kNot{FilterOp::negate, 1, {}, {}, {}, false};
const FilterTerm kAny{FilterOp::any, 2, {}, {}, {}, false};

Filter compile(const std::vector<FilterTerm>& terms) {
    return Filter::compile(terms).value();
}

std::vector<std::uint8_t> mask_of(const IndexView& view, const Filter& filter) {
    std::vector<std::uint8_t> mask(view.n_rows());
    CHECK(view.mask(filter, mask).ok());
    return mask;
}

bool is_refused(const Status& status, std::string_view reason) {
    return status.code() == Code::invalid_argument && status.message().find(reason) != std::string::npos;
}

}  // namespace

TEST(unknown_comparisons_select_no_row_in_either_direction) {
    std::mt19937_64 random(1);
    const Items items = random_items(random, 0, kItems);
    const ItemIndex index = build(items);
    const IndexView view = index.pinned();
    const auto in = mask_of(view, compile({kTagIn}));
    const auto not_in = mask_of(view, compile({kTagIn, kNot}));
    const auto neither = mask_of(view, compile({kTagIn, kPriceLess, kAny, kNot}));
    for (std::size_t row = 0; row < kItems; ++row) {
        const std::int64_t tag = items.tags[row];
        CHECK(in[row] == (tag == 1 || tag == 3));
        CHECK(not_in[row] == (tag >= 0 && tag != 1 && tag != 3));
        CHECK(neither[row] == (not_in[row] != 0 && items.prices[row] >= 20.0f));
    }
    CHECK(mask_of(view, compile({})) == std::vector<std::uint8_t>(kItems, 1));
}

TEST(updated_mask_equals_a_new_one_after_each_write) {
    std::mt19937_64 random(2);
    ItemIndex index = build(random_items(random, 0, kItems));
    const Filter filter = compile({kTagIn, kPriceLess, kAny});
    std::vector<std::uint8_t> mask = mask_of(index.pinned(), filter);
    std::uint64_t generation = 1;
    for (int step = 0; step < 60; ++step) {
        const Items items = random_items(random, static_cast<std::int64_t>(random() % kItems), 1 + random() % 90);
        if (step % 4 == 0) CHECK(index.block(items.ids).ok());
        if (step % 4 == 1) CHECK(index.unblock(items.ids).ok());
        if (step % 4 == 2) CHECK(index.remove(items.ids).ok());
        if (step % 4 == 3) {
            const MatrixView vectors{items.vectors.data(), items.ids.size(), 1, DType::float32};
            CHECK(index.upsert(items.ids, vectors, columns_of(items), 0).ok());
        }
        if (step == 30) CHECK(index.build_lists({3, 1}).ok());  // rows have other numbers
        if (step % 3 != 0) continue;
        const IndexView view = index.pinned();
        mask.resize(view.n_rows());
        CHECK(view.update_mask(filter, generation, mask).ok());
        CHECK(mask == mask_of(view, filter));
        generation = view.generation();
    }
}

TEST(mask_of_another_length_generation_or_column_is_refused) {
    std::mt19937_64 random(3);
    ItemIndex index = build(random_items(random, 0, 10));
    const IndexView view = index.pinned();
    std::vector<std::uint8_t> mask(9, 7);
    CHECK(is_refused(view.mask(compile({kTagIn}), mask), "mask has 9 entries, generation 1 of the index has 10 rows"));
    mask.resize(10, 7);
    CHECK(is_refused(view.update_mask(compile({kTagIn}), 2, mask), "mask is of generation 2"));
    const FilterTerm colour{FilterOp::in, 0, "colour", kTags, {}, false};
    CHECK(is_refused(view.mask(compile({colour}), mask), "colour"));
    const FilterTerm text{FilterOp::in, 0, "price", kTags, {}, false};
    CHECK(is_refused(view.mask(compile({text}), mask), "column 'price' has dtype float32"));
    CHECK(mask == std::vector<std::uint8_t>(10, 7));
}

TEST(terms_that_are_no_condition_are_refused_by_position) {
    const auto refused = [](std::vector<FilterTerm> terms, std::string_view reason) {
        return is_refused(Filter::compile(terms).status(), reason);
    };
    const auto changed = [](FilterTerm term, auto change) {
        change(term);
        return term;
    };
    const std::vector<double> nan = {std::nan("")};
    const std::vector<std::int64_t> many(kMaxFilterValues + 1, 1);
    const auto unknown = static_cast<FilterOp>(9);  // NOLINT(clang-analyzer-optin.core.EnumCastOutOfRange)
    CHECK(refused({changed(kTagIn, [&](auto& t) { t.op = unknown; })}, "term 0 of the filter: op is 9"));
    CHECK(refused({changed(kPriceLess, [&](auto& t) { t.numbers = nan; })}, "a number is not finite"));
    CHECK(refused({changed(kTagIn, [&](auto& t) { t.integers = many; })}, "1001 values, expected at most 1000"));
    CHECK(refused({changed(kPriceLess, [&](auto& t) { t.integers = kTags; })}, "integers and numbers"));
    CHECK(refused({changed(kPriceLess, [](auto& t) { t.numbers = {}; })}, "0 values, expected 1"));
    CHECK(refused({changed(kTagIn, [](auto& t) { t.column = {}; })}, "no column"));
    CHECK(refused({kTagIn, kAny}, "term 1 of the filter: it joins 2 conditions, there are 1"));
    CHECK(refused({kTagIn, changed(kNot, [](auto& t) { t.n_parts = 0; })}, "0 parts"));
    CHECK(refused({kTagIn, kPriceLess}, "2 conditions that nothing joins"));
    std::vector<FilterTerm> terms(kMaxFilterTerms + 1, kTagIn);
    terms.push_back(changed(kAny, [](auto& t) { t.n_parts = kMaxFilterTerms + 1; }));
    CHECK(refused(terms, "97 comparisons, expected at most 96"));
    std::vector<FilterTerm> deep(kMaxFilterDepth + 1, kNot);
    deep[0] = kTagIn;
    CHECK(refused(deep, "18 conditions inside each other"));
}
