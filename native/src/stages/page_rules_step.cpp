// The step page_rules: turns columns of the pool's items into rules of one arrange().
//
// Definition  karec/steps/selectors/page_rules.py. Items get the same labels as there, so that the order is also
//             the same if arrange() stops its search.
#include <algorithm>
#include <limits>
#include <vector>

#include "karec/arrange.hpp"
#include "stages/steps.hpp"

namespace karec {
namespace {

using Labels = ScratchVector<std::int64_t>;

constexpr std::int64_t kNoLabel = -1;
constexpr std::size_t kWholeSession = std::numeric_limits<std::size_t>::max();

// Labels of items for one rule. `conflicts`: the label that must not be near the item, or kNoLabel.
struct RuleLabels {
    Labels labels;
    Labels conflicts;
    std::size_t window;
    std::size_t max_conflicts;

    // The rule for a page that follows the first `n_shown` items.
    ArrangeRule to_rule(std::size_t n_shown) const {
        const std::span<const std::int64_t> all(labels);
        const auto own_conflicts = std::span<const std::int64_t>(conflicts).subspan(n_shown);
        return {all.subspan(n_shown), own_conflicts, all.first(n_shown), window, max_conflicts};
    }
};

RuleLabels label_values(const PageRule& rule, const Labels& values) {
    Labels distinct = values;
    std::ranges::sort(distinct);
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    Labels labels;
    for (const std::int64_t value : values) {
        const bool has_label = rule.values.empty() || std::ranges::find(rule.values, value) != rule.values.end();
        labels.push_back(has_label ? std::ranges::lower_bound(distinct, value) - distinct.begin() : kNoLabel);
    }
    return {labels, labels, rule.window.value_or(kWholeSession), rule.max_count - 1};
}

RuleLabels label_pair(const PageRule& rule, const ValuePair& pair, const Labels& values) {
    Labels labels;
    Labels conflicts;
    for (const std::int64_t value : values) {
        labels.push_back(value == pair.first ? 0 : value == pair.second ? 1 : kNoLabel);
        const bool is_same = pair.first == pair.second || labels.back() == kNoLabel;
        conflicts.push_back(is_same ? labels.back() : 1 - labels.back());
    }
    return {std::move(labels), std::move(conflicts), rule.window.value_or(kWholeSession), 0};
}

}  // namespace

Status run_step(const PageRulesStep& step, StageRun& run) {
    ScratchVector<std::int32_t> rows(run.request.shown.size());
    if (Status status = run.view.lookup(run.request.shown, rows); !status.ok()) return status;
    const std::size_t n_shown = rows.size();
    rows.insert(rows.end(), run.pool.rows.begin(), run.pool.rows.end());
    std::vector<RuleLabels> labels;
    for (const PageRule& rule : step.rules) {
        Labels values(rows.size());
        if (Status status = gather_integers(run.view, rule.column, rows, values); !status.ok()) return status;
        for (std::size_t i = 0; i < values.size(); ++i) {
            // A missing value and an item without a row get a value that no other item has.
            if (values[i] < 0 || rows[i] < 0) values[i] = -1 - static_cast<std::int64_t>(i);
        }
        if (rule.apart.empty()) labels.push_back(label_values(rule, values));
        for (const ValuePair& pair : rule.apart) labels.push_back(label_pair(rule, pair, values));
    }
    std::vector<ArrangeRule> rules;
    rules.reserve(labels.size());
    for (const RuleLabels& rule : labels) rules.push_back(rule.to_rule(n_shown));
    ScratchVector<std::int64_t> indices(std::min(step.k.value_or(run.request.k), run.pool.size()));
    std::vector<ArrangeViolation> violations;
    const auto is_exact = arrange(run.pool.size(), rules, {}, {}, indices, violations);
    if (!is_exact.ok()) return is_exact.status();
    run.pool.take(indices);
    run.n_broken_rules += violations.size();
    return {};
}

}  // namespace karec
