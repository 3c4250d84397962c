// The step page_rules: columns of the pool's items into marks, slots and boosts of one arrange().
//
// Definition  karec/steps/selectors/page_rules.py. Items get the same marks as there, so that a search that arrange()
//             gives up gives the same order too.
#include <algorithm>
#include <deque>
#include <limits>
#include <numeric>
#include <vector>

#include "karec/arrange.hpp"
#include "stages/steps.hpp"

namespace karec {
namespace {

using Labels = ScratchVector<std::int64_t>;

constexpr std::int64_t kNoLabel = -1;
constexpr std::size_t kWholeSession = std::numeric_limits<std::size_t>::max();

bool contains(const std::vector<std::int64_t>& values, std::int64_t value) noexcept {
    return std::ranges::find(values, value) != values.end();
}

// The items of a page before it is arranged: shown ones first, then the pool's.
class PageItems {
  public:
    PageItems(const PageRulesStep& step, const StageRun& run) : step_(step), run_(run), n_(run.pool.size()) {}

    // Reads the columns of the step and computes the order after boosts.
    Status prepare(std::size_t k) {
        rows_.resize(run_.request.shown.size());
        n_shown_ = rows_.size();
        if (Status status = run_.view.lookup(run_.request.shown, rows_); !status.ok()) return status;
        rows_.insert(rows_.end(), run_.pool.rows.begin(), run_.pool.rows.end());
        names_ = step_.columns();
        for (const std::string& name : names_) {
            Labels& values = columns_.emplace_back(rows_.size());
            if (Status status = gather_integers(run_.view, name, rows_, values); !status.ok()) return status;
            for (std::size_t i = 0; i < values.size(); ++i) {
                // A missing value and an item without a row get a value that no other item has.
                if (values[i] < 0 || rows_[i] < 0) values[i] = -1 - static_cast<std::int64_t>(i);
            }
        }
        sort_by_boosts(k);
        return {};
    }

    std::span<const std::size_t> order() const noexcept { return order_; }

    // Adds the rules of `rule`: marks of the items in order(), and of the shown ones.
    void add_rules(const PageRule& rule) {
        const Labels& values = column(rule.column);
        const std::size_t window = rule.window.value_or(kWholeSession);
        for (const ValuePair& pair : rule.apart) {
            Labels labels;
            Labels conflicts;
            for (const std::int64_t value : values) {
                const bool is_second = value == pair.second && value != pair.first;
                labels.push_back(value == pair.first ? 0 : is_second ? 1 : kNoLabel);
                const bool is_same = pair.first == pair.second || labels.back() == kNoLabel;
                conflicts.push_back(is_same ? labels.back() : 1 - labels.back());
            }
            add_rule(labels, conflicts, window, 0);
        }
        if (!rule.apart.empty()) return;
        Labels distinct = values;
        std::ranges::sort(distinct);
        distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
        Labels labels;
        for (const std::int64_t value : values) {
            const bool has_label = rule.values.empty() || contains(rule.values, value);
            labels.push_back(has_label ? std::ranges::lower_bound(distinct, value) - distinct.begin() : kNoLabel);
        }
        add_rule(labels, labels, window, rule.max_count - 1);
    }

    // Adds a slot for each place of `position` on a page of `k`.
    void add_slots(const PagePosition& position, std::size_t k) {
        const bool is_free = !position.item && !position.column;
        ScratchVector<std::uint8_t>& fits = fits_.emplace_back(n_, std::uint8_t{0});
        for (std::size_t i = 0; i < n_ && !is_free; ++i) fits[i] = does_fit(position, order_[i]) ? 1 : 0;
        for (const std::size_t place : position.places) {
            if (place <= k) slots.push_back({place - 1, fits, is_free});
        }
        if (!position.only) return;
        slot_only.resize(n_);
        for (std::size_t i = 0; i < n_; ++i) slot_only[i] = slot_only[i] | fits[i];
    }

    std::vector<ArrangeRule> rules;
    std::vector<ArrangeSlot> slots;
    ScratchVector<std::uint8_t> slot_only;  // empty, or (N,): items that are in slots only

  private:
    const Labels& column(const std::string& name) const noexcept {
        return columns_[static_cast<std::size_t>(std::ranges::find(names_, name) - names_.begin())];
    }

    bool does_fit(const PagePosition& position, std::size_t item) const noexcept {
        if (position.item) return run_.pool.ids[item] == *position.item;
        return run_.pool.rows[item] >= 0 && contains(position.values, column(*position.column)[n_shown_ + item]);
    }

    void add_rule(const Labels& labels, const Labels& conflicts, std::size_t window, std::size_t max_conflicts) {
        const auto in_order = [&](const Labels& all) -> std::span<const std::int64_t> {
            Labels& sorted = marks_.emplace_back();
            for (const std::size_t item : order_) sorted.push_back(all[n_shown_ + item]);
            return sorted;
        };
        const Labels& shown =
            marks_.emplace_back(labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(n_shown_));
        rules.push_back({in_order(labels), in_order(conflicts), shown, window, max_conflicts});
    }

    void sort_by_boosts(std::size_t k) {
        order_.resize(n_);
        std::iota(order_.begin(), order_.end(), std::size_t{0});
        if (step_.boosts.empty()) return;
        Labels lifts(n_, 0);  // positions that an item moves up
        for (const PageBoost& boost : step_.boosts) {
            const Labels& values = column(boost.column);
            for (std::size_t i = 0; i < n_; ++i) {
                if (contains(boost.values, values[n_shown_ + i])) lifts[i] += static_cast<std::int64_t>(boost.places);
            }
        }
        for (std::size_t i = 0; i < n_; ++i) {
            lifts[i] = std::min({lifts[i], static_cast<std::int64_t>(step_.max_places), static_cast<std::int64_t>(i)});
        }
        sort_by_lifts(lifts);
        std::size_t n_moved = 0;
        for (const std::size_t item : order_) {  // only the first max_boosted of the page move
            const bool moves =
                lifts[item] > 0 && static_cast<std::int64_t>(item) - lifts[item] < static_cast<std::int64_t>(k);
            if (!moves || n_moved == step_.max_boosted) {
                lifts[item] = 0;
            } else {
                ++n_moved;
            }
        }
        sort_by_lifts(lifts);
    }

    // Items in the order of the positions that they aim at; of equal ones those that move further first.
    void sort_by_lifts(const Labels& lifts) {
        std::iota(order_.begin(), order_.end(), std::size_t{0});
        std::ranges::stable_sort(order_, [&](std::size_t a, std::size_t b) {
            const std::int64_t aim_a = static_cast<std::int64_t>(a) - lifts[a];
            const std::int64_t aim_b = static_cast<std::int64_t>(b) - lifts[b];
            return aim_a < aim_b || (aim_a == aim_b && lifts[a] > lifts[b]);
        });
    }

    const PageRulesStep& step_;
    const StageRun& run_;
    std::size_t n_;
    std::size_t n_shown_ = 0;
    ScratchVector<std::int32_t> rows_;
    std::vector<std::string> names_;
    std::vector<Labels> columns_;  // (n_shown_ + n_,) for each name
    ScratchVector<std::size_t> order_;
    std::deque<Labels> marks_;  // rules point into them
    std::deque<ScratchVector<std::uint8_t>> fits_;
};

}  // namespace

std::vector<std::string> PageRulesStep::columns() const {
    std::vector<std::string> names;
    const auto add = [&](const std::string& name) {
        if (!name.empty() && std::ranges::find(names, name) == names.end()) names.push_back(name);
    };
    for (const PageRule& rule : rules) add(rule.column);
    for (const PageBoost& boost : boosts) add(boost.column);
    for (const PagePosition& position : positions) add(position.column.value_or(""));
    return names;
}

Status run_step(const PageRulesStep& step, StageRun& run) {
    const std::size_t k = step.k.value_or(run.request.k);
    PageItems items(step, run);
    if (Status status = items.prepare(k); !status.ok()) return status;
    for (const PageRule& rule : step.rules) items.add_rules(rule);
    std::size_t n_places = run.pool.size();  // no place behind it has an item
    for (const PagePosition& position : step.positions) {
        items.add_slots(position, k);
        n_places += position.places.size();
        for (const std::size_t place : position.places) n_places = std::max(n_places, place);
    }
    Labels indices(std::min(k, n_places));
    std::vector<ArrangeViolation> violations;
    const auto is_exact = arrange(run.pool.size(), items.rules, items.slots, items.slot_only, indices, violations);
    if (!is_exact.ok()) return is_exact.status();
    ScratchVector<std::int64_t> positions;
    for (const std::int64_t index : indices) {
        if (index >= 0) positions.push_back(static_cast<std::int64_t>(items.order()[static_cast<std::size_t>(index)]));
    }
    run.pool.take(positions);
    run.n_broken_rules += violations.size();
    return {};
}

}  // namespace karec
