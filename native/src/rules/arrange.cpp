// arrange(): the first of the best lists, by a search over all lists.
//
// Algorithm  Iterative deepening on the excess, depth first over the remaining items in order. Items of one class have
//            the same labels and conflicts and are members of the same slots: the search tries only the first remaining
//            item of a class. After kMaxArrangeSteps items a greedy choice replaces the search.
// Cost       karec/arrange.hpp
// Source     R. E. Korf, "Depth-First Iterative-Deepening", 1985.
#include "karec/arrange.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <string>

#include "base/boundary.hpp"
#include "rules/arrange_labels.hpp"
#include "rules/arrange_slots.hpp"

namespace karec {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);
enum class SearchResult { found, none, given_up };

// Excess by rule, compared in the order of the rules.
using Excess = std::array<std::uint32_t, kArrangeRanks>;
constexpr Excess kNoExcess{};
constexpr Excess kMaxExcess = [] {
    Excess excess{};
    excess.fill(std::numeric_limits<std::uint32_t>::max());
    return excess;
}();

class Arrangement {
  public:
    Arrangement(std::size_t n, std::span<const ArrangeRule> rules, std::span<const ArrangeSlot> slots,
                std::span<const std::uint8_t> is_slot_only, std::size_t k)
        : n_(n), slots_(n, slots, is_slot_only, k), n_slots_(slots.size()), chosen_(slots_.n_positions(), kNone) {
        for (const ArrangeRule& rule : rules) rules_.emplace_back(rule, k);
        make_classes();
        make_list();
    }

    // Returns false if the search stopped at its step limit.
    bool run() {
        Excess bound = kNoExcess;
        for (;;) {
            next_bound_ = kMaxExcess;
            const SearchResult result = search(bound);
            if (result == SearchResult::found) return true;
            if (result == SearchResult::given_up || next_bound_ == kMaxExcess) break;
            bound = next_bound_;
        }
        greedy();
        return false;
    }

    // Removes all items from the list; call it once, after run().
    void write(std::span<const ArrangeSlot> slots, std::span<std::int64_t> indices,
               std::vector<ArrangeViolation>& violations) {
        for (std::size_t position = chosen_.size(); position-- > 0;) remove_last(position);
        std::fill(indices.begin(), indices.end(), std::int64_t{-1});
        for (std::size_t position = 0; position < indices.size(); ++position) {
            const std::size_t item = position < chosen_.size() ? chosen_[position] : kNone;
            if (item != kNone) {
                indices[position] = static_cast<std::int64_t>(item);
                for (std::size_t r = 0; r < rules_.size(); ++r) {
                    const std::size_t excess = rules_[r].excess(position, item);
                    if (excess > 0) violations.push_back({position, r, excess});
                    rules_[r].add(position, item);
                }
            }
            for (std::size_t s = 0; s < slots.size(); ++s) {
                if (slots[s].position != position || slots_.is_empty(s) ||
                    (item != kNone && slots_.has_member(s, item)))
                    continue;
                violations.push_back({position, rules_.size() + s, 1});
            }
        }
    }

  private:
    void make_classes() {
        std::map<std::vector<std::size_t>, std::size_t> classes;
        std::vector<std::size_t> traits;
        for (std::size_t item = 0; item < n_; ++item) {
            traits.clear();
            for (const ArrangeLabels& rule : rules_) {
                traits.push_back(rule.label(item));
                traits.push_back(rule.conflict(item));
            }
            for (std::size_t slot = 0; slot < n_slots_; ++slot) {
                traits.push_back(!slots_.is_empty(slot) && slots_.has_member(slot, item));
            }
            traits.push_back(slots_.is_slot_only(item));
            const auto [at, is_new] = classes.emplace(traits, class_items_.size());
            if (is_new) class_items_.emplace_back();
            class_.push_back(at->second);
            class_items_[at->second].push_back(item);
        }
        n_taken_.assign(class_items_.size(), 0);
    }

    // The remaining items in order, as a ring through n.
    void make_list() {
        next_.resize(n_ + 1);
        before_.resize(n_ + 1);
        for (std::size_t i = 0; i <= n_; ++i) {
            next_[i] = i == n_ ? 0 : i + 1;
            before_[i] = i == 0 ? n_ : i - 1;
        }
    }

    SearchResult search(const Excess& bound) {
        const std::size_t k = chosen_.size();
        std::vector<Node> nodes(k + 1);
        std::size_t position = 0;
        while (position < k) {
            const SearchResult result = step(position, nodes[position], nodes[position + 1], bound);
            if (result == SearchResult::given_up) {
                while (position > 0) remove_last(--position);
                return result;
            }
            if (result == SearchResult::found) {
                ++position;
                continue;
            }
            if (position == 0) return SearchResult::none;
            remove_last(--position);
        }
        return SearchResult::found;
    }

    // One position of the search: the last item that it tried. A slot tries its members, then all other items.
    struct Node {
        std::size_t n_unmet = 0;     // slots before the position
        Excess excess{};             // before the position
        std::size_t cursor = kNone;  // item; kNone = none tried yet
        bool tries_others = false;   // items that are not members of the slot
    };

    // Takes the next item that the position may have within the bounds; `next` becomes the node of the next position.
    SearchResult step(std::size_t position, Node& node, Node& next, const Excess& bound) {
        const std::size_t slot = slots_.slot_at(position);
        if (slot != kNone && slots_.is_empty(slot)) {
            if (node.tries_others) return SearchResult::none;
            node.tries_others = true;
            next = {node.n_unmet, node.excess, kNone, false};
            return SearchResult::found;
        }
        for (;;) {
            node.cursor = next_[node.cursor == kNone ? n_ : node.cursor];
            if (node.cursor == n_) {
                if (slot == kNone || node.tries_others || node.n_unmet == slots_.n_unmet()) return SearchResult::none;
                node.tries_others = true;
                node.cursor = kNone;
                continue;
            }
            if (++n_steps_ > kMaxArrangeSteps) return SearchResult::given_up;
            const std::size_t item = node.cursor;
            if (class_items_[class_[item]][n_taken_[class_[item]]] != item || !can_take(slot, item, node.tries_others))
                continue;
            const Excess excess = excess_of(position, item, node.excess);
            if (excess > bound) {
                next_bound_ = std::min(next_bound_, excess);
                continue;
            }
            take(position, item);
            next = {node.n_unmet + node.tries_others, excess, kNone, false};
            return SearchResult::found;
        }
    }

    bool can_take(std::size_t slot, std::size_t item, bool tries_others) const noexcept {
        const bool is_member = slot != kNone && slots_.has_member(slot, item);
        return slot == kNone || tries_others ? !is_member && !slots_.is_slot_only(item) : is_member;
    }

    // Each position takes the item of least excess; items that the matching gave to a slot wait for it.
    void greedy() {
        std::vector<std::size_t> reserved_for(n_, kNone);
        for (std::size_t slot = 0; slot < n_slots_; ++slot) {
            if (slots_.matched_item(slot) != kNone) reserved_for[slots_.matched_item(slot)] = slot;
        }
        for (std::size_t position = 0; position < chosen_.size(); ++position) {
            const std::size_t slot = slots_.slot_at(position);
            if (slot != kNone && slots_.is_empty(slot)) continue;
            const std::size_t own_item = slot == kNone ? kNone : slots_.matched_item(slot);
            std::size_t chosen = kNone;
            Excess min_excess = kMaxExcess;
            for (std::size_t item = next_[n_]; item != n_; item = next_[item]) {
                if (reserved_for[item] != kNone && item != own_item) continue;
                if (own_item != kNone ? !slots_.has_member(slot, item) ||
                                            (slots_.is_slot_only(own_item) && !slots_.is_slot_only(item))
                                      : slots_.is_slot_only(item)) {
                    continue;
                }
                const Excess excess = excess_of(position, item, kNoExcess);
                if (excess >= min_excess) continue;
                chosen = item;
                min_excess = excess;
                if (excess == kNoExcess) break;
            }
            if (own_item != kNone) reserved_for[own_item] = kNone;
            chosen_[position] = kNone;  // an abandoned search may have left an item here
            if (chosen != kNone) take(position, chosen);
        }
    }

    // The excess of the item at `position`, added to that of the positions before.
    Excess excess_of(std::size_t position, std::size_t item, Excess before) const noexcept {
        for (std::size_t r = 0; r < rules_.size(); ++r) {
            before[std::min(r, kArrangeRanks - 1)] += static_cast<std::uint32_t>(rules_[r].excess(position, item));
        }
        return before;
    }

    void take(std::size_t position, std::size_t item) {
        chosen_[position] = item;
        ++n_taken_[class_[item]];
        next_[before_[item]] = next_[item];
        before_[next_[item]] = before_[item];
        for (ArrangeLabels& rule : rules_) rule.add(position, item);
    }

    // Empties the last position that was filled; chosen_ still has its item.
    void remove_last(std::size_t position) noexcept {
        const std::size_t item = chosen_[position];
        if (item == kNone) return;
        for (ArrangeLabels& rule : rules_) rule.remove_last(item);
        next_[before_[item]] = item;
        before_[next_[item]] = item;
        --n_taken_[class_[item]];
    }

    std::size_t n_;
    ArrangeSlots slots_;
    std::size_t n_slots_;
    std::vector<ArrangeLabels> rules_;
    std::vector<std::size_t> class_;                     // by item
    std::vector<std::vector<std::size_t>> class_items_;  // items of each class, in order
    std::vector<std::size_t> n_taken_;                   // items of each class that the list has
    std::vector<std::size_t> next_;
    std::vector<std::size_t> before_;
    std::vector<std::size_t> chosen_;  // item at each position; kNone = empty
    std::size_t n_steps_ = 0;
    Excess next_bound_{};  // the least excess above the bound
};

Status check(std::size_t n, std::span<const ArrangeRule> rules, std::span<const ArrangeSlot> slots,
             std::span<const std::uint8_t> is_slot_only, std::size_t k) {
    if (n > kMaxArrangeItems) {
        return Status::invalid("n is " + std::to_string(n) + ", expected 0 to " + std::to_string(kMaxArrangeItems));
    }
    for (std::size_t r = 0; r < rules.size(); ++r) {
        if (rules[r].labels.size() != n || rules[r].conflicts.size() != n) {
            return Status::invalid("rule " + std::to_string(r) + " has " + std::to_string(rules[r].labels.size()) +
                                   " and " + std::to_string(rules[r].conflicts.size()) +
                                   " labels and conflicts, expected " + std::to_string(n));
        }
        if (rules[r].window < 2) return Status::invalid("rule " + std::to_string(r) + " has a window below 2");
    }
    std::vector<std::uint8_t> has_slot(k, 0);
    for (std::size_t s = 0; s < slots.size(); ++s) {
        const std::string name = "slot " + std::to_string(s);
        if (slots[s].position >= k) {
            return Status::invalid(name + " is at position " + std::to_string(slots[s].position) + " of " +
                                   std::to_string(k));
        }
        if (has_slot[slots[s].position]++ != 0) {
            return Status::invalid("two slots are at position " + std::to_string(slots[s].position));
        }
        if (!slots[s].is_empty && slots[s].members.size() != n) {
            return Status::invalid(name + " has " + std::to_string(slots[s].members.size()) + " entries, expected " +
                                   std::to_string(n));
        }
    }
    if (!is_slot_only.empty() && is_slot_only.size() != n) {
        return Status::invalid("is_slot_only has " + std::to_string(is_slot_only.size()) + " entries, expected " +
                               std::to_string(n));
    }
    return {};
}

}  // namespace

Result<bool> arrange(std::size_t n, std::span<const ArrangeRule> rules, std::span<const ArrangeSlot> slots,
                     std::span<const std::uint8_t> is_slot_only, std::span<std::int64_t> indices,
                     std::vector<ArrangeViolation>& violations) noexcept {
    return at_boundary([&]() -> Result<bool> {
        violations.clear();
        // Copies: the values that are checked are the values that are used.
        const std::vector<ArrangeRule> copied_rules(rules.begin(), rules.end());
        const std::vector<ArrangeSlot> copied_slots(slots.begin(), slots.end());
        if (Status status = check(n, copied_rules, copied_slots, is_slot_only, indices.size()); !status.ok())
            return status;
        // If no array has n entries, no memory bounds n and all items are equal: the first k are enough.
        const bool has_arrays = !copied_rules.empty() || !is_slot_only.empty() ||
                                !std::ranges::all_of(copied_slots, &ArrangeSlot::is_empty);
        const std::size_t n_used = has_arrays ? n : std::min(n, indices.size());
        Arrangement arrangement(n_used, copied_rules, copied_slots, is_slot_only, indices.size());
        const bool is_exact = arrangement.run();
        arrangement.write(copied_slots, indices, violations);
        return is_exact;
    });
}

}  // namespace karec
