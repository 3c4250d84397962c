// Cost: O((n + m)·log n) for n items and m shown ones.
#include "rules/arrange_labels.hpp"

#include <algorithm>

namespace karec {
namespace {

// The number of `label` among `labels`, sorted; kNone if it is not there.
std::size_t find_label(const std::vector<std::int64_t>& labels, std::int64_t label) noexcept {
    const auto found = std::lower_bound(labels.begin(), labels.end(), label);
    if (found == labels.end() || *found != label) return ArrangeLabels::kNone;
    return static_cast<std::size_t>(found - labels.begin());
}

}  // namespace

// A window longer than shown + list acts like one of that length + 1; the minimum keeps position + window from
// wrapping.
ArrangeLabels::ArrangeLabels(const ArrangeRule& rule, std::size_t n_positions)
    : window_(std::min(rule.window, rule.shown.size() + n_positions + 1)),
      max_conflicts_(rule.max_conflicts),
      n_shown_(rule.shown.size()) {
    // Copies: a value that changes during the call is read once.
    const std::vector<std::int64_t> labels(rule.labels.begin(), rule.labels.end());
    const std::vector<std::int64_t> conflicts(rule.conflicts.begin(), rule.conflicts.end());
    const std::vector<std::int64_t> shown(rule.shown.begin(), rule.shown.end());
    std::vector<std::int64_t> distinct;
    const auto is_label = [](std::int64_t label) { return label >= 0; };
    std::ranges::copy_if(labels, std::back_inserter(distinct), is_label);
    std::ranges::copy_if(shown, std::back_inserter(distinct), is_label);
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    std::vector<std::size_t> n_of_label(distinct.size(), 0);
    std::vector<std::size_t> n_conflicts(distinct.size(), 0);
    positions_.resize(distinct.size());
    for (const std::int64_t label : labels) {
        labels_.push_back(find_label(distinct, label));
        if (labels_.back() != kNone) ++n_of_label[labels_.back()];
    }
    for (std::size_t position = 0; position < shown.size(); ++position) {
        const std::size_t label = find_label(distinct, shown[position]);
        if (label == kNone) continue;
        ++n_of_label[label];
        positions_[label].push_back(position);
    }
    for (std::size_t item = 0; item < conflicts.size(); ++item) {
        std::size_t label = find_label(distinct, conflicts[item]);
        if (label != kNone && n_of_label[label] - (labels_[item] == label) <= max_conflicts_) label = kNone;
        conflicts_.push_back(label);
        if (label != kNone) ++n_conflicts[label];
    }
    for (std::size_t item = 0; item < labels_.size(); ++item) {
        const std::size_t label = labels_[item];
        if (label != kNone && n_conflicts[label] - (conflicts_[item] == label) == 0) labels_[item] = kNone;
    }
}

}  // namespace karec
