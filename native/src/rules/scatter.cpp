// Greedy over a linked list of the remaining items, with a look-ahead: a value is urgent if the later places cannot
// hold all of its items that must be placed, once this place has gone to another value. Costs and contract:
// karec/scatter.hpp.
#include "karec/scatter.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "base/boundary.hpp"

namespace karec {
namespace {

// One rule, and the places of its values so far.
class RuleState {
  public:
    // A window longer than shown + list acts like one of that length + 1; the minimum keeps place + window from
    // wrapping.
    explicit RuleState(const ScatterRule& rule)
        : window_(std::min(rule.window, rule.shown.size() + rule.values.size() + 1)),
          max_count_(rule.max_count),
          n_shown_(rule.shown.size()) {
        // Copied, so that the values that are coded are the values that are looked up, whoever writes to the caller's
        // array.
        const std::vector<std::int64_t> given(rule.values.begin(), rule.values.end());
        std::vector<std::int64_t> values = given;
        std::sort(values.begin(), values.end());
        values.erase(std::unique(values.begin(), values.end()), values.end());
        n_first_.assign(values.size(), 0);
        for (const std::int64_t value : given) {
            const auto at = std::lower_bound(values.begin(), values.end(), value) - values.begin();
            value_of_.push_back(static_cast<std::size_t>(at));
            ++n_first_[value_of_.back()];
        }
        n_left_ = n_first_;
        places_.resize(values.size());
        for (std::size_t place = 0; place < n_shown_; ++place) {
            const std::int64_t value = rule.shown[place];
            const auto at = std::lower_bound(values.begin(), values.end(), value);
            if (at != values.end() && *at == value) {
                places_[static_cast<std::size_t>(at - values.begin())].push_back(place);
            }
        }
        urgent_.assign(values.size(), false);
        frequent_first_.resize(values.size());
        std::iota(frequent_first_.begin(), frequent_first_.end(), std::size_t{0});
        std::stable_sort(frequent_first_.begin(), frequent_first_.end(),
                         [this](std::size_t a, std::size_t b) { return n_first_[a] > n_first_[b]; });
    }

    // How many items of the item's value the window that ends at `place` would hold, this item included.
    std::size_t count_at(std::size_t place, std::size_t item) const noexcept {
        const std::vector<std::size_t>& places = places_[value_of_[item]];
        std::size_t count = 1;
        for (auto at = places.rbegin(); at != places.rend() && *at + window_ > place + n_shown_; ++at) ++count;
        return count;
    }

    std::size_t excess_at(std::size_t place, std::size_t item) const noexcept {
        const std::size_t count = count_at(place, item);
        return count > max_count_ ? count - max_count_ : 0;
    }

    void put(std::size_t place, std::size_t item) {
        places_[value_of_[item]].push_back(place + n_shown_);
        --n_left_[value_of_[item]];
    }

    // Marks the values that are urgent at place `place` of k, with `n_remaining` items left; returns whether there is
    // one.
    bool look_ahead(std::size_t place, std::size_t k, std::size_t n_remaining) {
        for (const std::size_t value : marked_) urgent_[value] = false;
        marked_.clear();
        const std::size_t n_places = k - place;
        const std::size_t n_unplaced = n_remaining - n_places;
        const std::size_t surely_fits = n_places / window_ * max_count_;  // whatever was placed before
        for (const std::size_t value : frequent_first_) {
            if (n_first_[value] <= n_unplaced + surely_fits) break;
            if (n_left_[value] <= n_unplaced) continue;
            if (n_left_[value] - n_unplaced > capacity(value, place + 1 + n_shown_, k + n_shown_)) {
                urgent_[value] = true;
                marked_.push_back(value);
            }
        }
        return !marked_.empty();
    }

    bool is_urgent(std::size_t item) const noexcept { return urgent_[value_of_[item]]; }

  private:
    // The most items of `value` that places first … end − 1 (counted from the first shown) can hold: each of its last
    // max_count items blocks one successor for a window, and that one the next, in steps of a window.
    std::size_t capacity(std::size_t value, std::size_t first, std::size_t end) const noexcept {
        const std::vector<std::size_t>& places = places_[value];
        const std::size_t n_recent = std::min(places.size(), max_count_);
        std::size_t sum = 0;
        std::size_t next = first;
        for (std::size_t track = 0; track < max_count_ && next < end; ++track) {
            if (track + n_recent >= max_count_) {
                next = std::max(next, places[places.size() - (max_count_ - track)] + window_);
            }
            if (next < end) sum += (end - 1 - next) / window_ + 1;
            ++next;
        }
        return sum;
    }

    std::size_t window_;
    std::size_t max_count_;
    std::vector<std::size_t> value_of_;  // item → value
    std::vector<std::size_t> n_first_;   // value → how many there were
    std::vector<std::size_t> n_left_;    // value → how many remain
    std::size_t n_shown_;
    std::vector<std::vector<std::size_t>> places_;  // value → its places in order, counted from the first shown
    std::vector<std::size_t> frequent_first_;
    std::vector<bool> urgent_;
    std::vector<std::size_t> marked_;
};

Status check_rules(std::size_t n, std::span<const ScatterRule> rules) {
    for (std::size_t r = 0; r < rules.size(); ++r) {
        const ScatterRule& rule = rules[r];
        const std::string name = "rule " + std::to_string(r);
        if (rule.values.size() != n) {
            return Status::invalid(name + " has " + std::to_string(rule.values.size()) + " values, expected " +
                                   std::to_string(n));
        }
        if (rule.window < 2 || rule.max_count < 1 || rule.max_count >= rule.window) {
            return Status::invalid(name + " has window " + std::to_string(rule.window) + " and max_count " +
                                   std::to_string(rule.max_count) + ", expected window ≥ 2, 1 ≤ max_count < window");
        }
    }
    return {};
}

class Scatter {
  public:
    Scatter(std::size_t n, std::span<const ScatterRule> rules)
        : n_(n), rules_(rules.begin(), rules.end()), next_(n + 1) {
        // A list with its head at n: next_[n] is the first remaining item.
        for (std::size_t i = 0; i < n; ++i) next_[i] = i + 1;
        next_[n] = n == 0 ? n : 0;
        if (n > 0) next_[n - 1] = n;
    }

    void run(std::span<std::int64_t> indices, std::span<const ScatterRule> limits,
             std::vector<ScatterViolation>& violations) {
        const std::size_t k = indices.size();
        for (std::size_t place = 0; place < k; ++place) {
            std::size_t n_urgent = 0;
            for (RuleState& rule : rules_) n_urgent += rule.look_ahead(place, k, n_ - place);
            const std::size_t before = choose(place, n_urgent);
            const std::size_t item = next_[before];
            next_[before] = next_[item];
            for (std::size_t r = 0; r < rules_.size(); ++r) {
                const std::size_t count = rules_[r].count_at(place, item);
                if (count > limits[r].max_count) violations.push_back({place, r, count});
                rules_[r].put(place, item);
            }
            indices[place] = static_cast<std::int64_t>(item);
        }
    }

  private:
    // The list's entry before the item to take: least excess, then most urgent values served, then order.
    std::size_t choose(std::size_t place, std::size_t n_urgent) const {
        std::size_t chosen = n_;
        std::size_t least_excess = std::numeric_limits<std::size_t>::max();
        std::size_t most_served = 0;
        for (std::size_t before = n_; next_[before] != n_; before = next_[before]) {
            const std::size_t item = next_[before];
            std::size_t excess = 0;
            std::size_t served = 0;
            for (const RuleState& rule : rules_) {
                excess += rule.excess_at(place, item);
                served += rule.is_urgent(item);
            }
            if (excess > least_excess || (excess == least_excess && served <= most_served)) continue;
            chosen = before;
            least_excess = excess;
            most_served = served;
            if (excess == 0 && served == n_urgent) break;
        }
        return chosen;
    }

    std::size_t n_;
    std::vector<RuleState> rules_;
    std::vector<std::size_t> next_;
};

}  // namespace

Status scatter(std::size_t n, std::span<const ScatterRule> rules, std::span<std::int64_t> indices,
               std::vector<ScatterViolation>& violations) noexcept {
    return at_boundary([&]() -> Status {
        violations.clear();
        if (indices.size() > n) {
            return Status::invalid("cannot fill " + std::to_string(indices.size()) + " places with " +
                                   std::to_string(n) + " items");
        }
        if (rules.empty()) {  // n need not be the length of anything in memory
            std::iota(indices.begin(), indices.end(), std::int64_t{0});
            return {};
        }
        // Copied, so that the rules that are checked are the rules that are kept.
        const std::vector<ScatterRule> own(rules.begin(), rules.end());
        if (Status status = check_rules(n, own); !status.ok()) return status;
        Scatter(n, own).run(indices, own, violations);
        return {};
    });
}

}  // namespace karec
