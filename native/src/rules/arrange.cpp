// Iterative deepening on the excess (Korf 1985), depth first over the remaining items in order. Items with the same
// marks that fit the same slots are one kind: of a kind the first remaining one alone is tried. Contract and cost:
// karec/arrange.hpp.
#include "karec/arrange.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <string>

#include "base/boundary.hpp"
#include "rules/arrange_marks.hpp"
#include "rules/arrange_slots.hpp"

namespace karec {
namespace {

constexpr std::size_t NONE = static_cast<std::size_t>(-1);
enum class Found { yes, no, given_up };

class Arrangement {
  public:
    Arrangement(std::size_t n, std::span<const ArrangeRule> rules, std::span<const ArrangeSlot> slots,
                std::span<const std::uint8_t> only, std::size_t k)
        : n_(n), slots_(n, slots, only, k), n_slots_(slots.size()), chosen_(slots_.n_places(), NONE) {
        for (const ArrangeRule& rule : rules) marks_.emplace_back(rule, k);
        make_kinds();
        make_list();
    }

    // Whether the search was whole.
    bool run() {
        std::size_t bound = 0;
        for (;;) {
            next_bound_ = std::numeric_limits<std::size_t>::max();
            const Found found = search(bound);
            if (found == Found::yes) return true;
            if (found == Found::given_up || next_bound_ == std::numeric_limits<std::size_t>::max()) break;
            bound = next_bound_;
        }
        greedy();
        return false;
    }

    void tell(std::span<const ArrangeSlot> slots, std::span<std::int64_t> indices,
              std::vector<ArrangeViolation>& violations) {
        for (std::size_t place = chosen_.size(); place-- > 0;) take_back(place);
        std::fill(indices.begin(), indices.end(), std::int64_t{-1});
        for (std::size_t place = 0; place < indices.size(); ++place) {
            const std::size_t item = place < chosen_.size() ? chosen_[place] : NONE;
            if (item != NONE) {
                indices[place] = static_cast<std::int64_t>(item);
                for (std::size_t r = 0; r < marks_.size(); ++r) {
                    const std::size_t excess = marks_[r].excess_at(place, item);
                    if (excess > 0) violations.push_back({place, r, excess});
                    marks_[r].put(place, item);
                }
            }
            for (std::size_t s = 0; s < slots.size(); ++s) {
                if (slots[s].place != place || slots_.free(s) || (item != NONE && slots_.fits(s, item))) continue;
                violations.push_back({place, marks_.size() + s, 1});
            }
        }
    }

  private:
    void make_kinds() {
        std::map<std::vector<std::size_t>, std::size_t> kinds;
        std::vector<std::size_t> traits;
        for (std::size_t item = 0; item < n_; ++item) {
            traits.clear();
            for (const ArrangeMarks& marks : marks_) {
                traits.push_back(marks.puts(item));
                traits.push_back(marks.looks(item));
            }
            for (std::size_t slot = 0; slot < n_slots_; ++slot) {
                traits.push_back(!slots_.free(slot) && slots_.fits(slot, item));
            }
            traits.push_back(slots_.only(item));
            const auto [at, is_new] = kinds.emplace(traits, members_.size());
            if (is_new) members_.emplace_back();
            kind_.push_back(at->second);
            members_[at->second].push_back(item);
        }
        n_taken_.assign(members_.size(), 0);
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

    Found search(std::size_t bound) {
        const std::size_t k = chosen_.size();
        std::vector<Node> nodes(k + 1);
        std::size_t place = 0;
        while (place < k) {
            const Found found = step(place, nodes[place], nodes[place + 1], bound);
            if (found == Found::given_up) {
                while (place > 0) take_back(--place);
                return found;
            }
            if (found == Found::yes) {
                ++place;
                continue;
            }
            if (place == 0) return Found::no;
            take_back(--place);
        }
        return Found::yes;
    }

    // What a place has tried: the item at `cursor`, NONE = nothing yet; then those that do not fit its slot.
    struct Node {
        std::size_t unmet = 0;   // before the place
        std::size_t excess = 0;  // before the place
        std::size_t cursor = NONE;
        bool others = false;
    };

    // Takes the next item that the place may have within the bounds; `after` becomes the node of the next place.
    Found step(std::size_t place, Node& node, Node& after, std::size_t bound) {
        const std::size_t slot = slots_.at(place);
        if (slot != NONE && slots_.free(slot)) {
            if (node.others) return Found::no;
            node.others = true;
            after = {node.unmet, node.excess, NONE, false};
            return Found::yes;
        }
        for (;;) {
            node.cursor = next_[node.cursor == NONE ? n_ : node.cursor];
            if (node.cursor == n_) {
                if (slot == NONE || node.others || node.unmet == slots_.n_unmet()) return Found::no;
                node.others = true;
                node.cursor = NONE;
                continue;
            }
            if (++n_looks_ > ARRANGE_LOOKS) return Found::given_up;
            const std::size_t item = node.cursor;
            if (members_[kind_[item]][n_taken_[kind_[item]]] != item || !may(slot, item, node.others)) continue;
            const std::size_t excess = node.excess + excess_at(place, item);
            if (excess > bound) {
                next_bound_ = std::min(next_bound_, excess);
                continue;
            }
            take(place, item);
            after = {node.unmet + node.others, excess, NONE, false};
            return Found::yes;
        }
    }

    bool may(std::size_t slot, std::size_t item, bool others) const noexcept {
        const bool fits = slot != NONE && slots_.fits(slot, item);
        return slot == NONE || others ? !fits && !slots_.only(item) : fits;
    }

    // Slots keep the items that they were matched with.
    void greedy() {
        std::vector<std::size_t> kept_for(n_, NONE);
        for (std::size_t slot = 0; slot < n_slots_; ++slot) {
            if (slots_.item_of(slot) != NONE) kept_for[slots_.item_of(slot)] = slot;
        }
        for (std::size_t place = 0; place < chosen_.size(); ++place) {
            const std::size_t slot = slots_.at(place);
            if (slot != NONE && slots_.free(slot)) continue;
            const std::size_t own = slot == NONE ? NONE : slots_.item_of(slot);
            std::size_t chosen = NONE;
            std::size_t least = std::numeric_limits<std::size_t>::max();
            for (std::size_t item = next_[n_]; item != n_; item = next_[item]) {
                if (kept_for[item] != NONE && item != own) continue;
                if (own != NONE ? !slots_.fits(slot, item) || (slots_.only(own) && !slots_.only(item))
                                : slots_.only(item)) {
                    continue;
                }
                const std::size_t excess = excess_at(place, item);
                if (excess >= least) continue;
                chosen = item;
                least = excess;
                if (excess == 0) break;
            }
            if (own != NONE) kept_for[own] = NONE;
            chosen_[place] = NONE;  // an abandoned search may have left an item here
            if (chosen != NONE) take(place, chosen);
        }
    }

    std::size_t excess_at(std::size_t place, std::size_t item) const noexcept {
        std::size_t excess = 0;
        for (const ArrangeMarks& marks : marks_) excess += marks.excess_at(place, item);
        return excess;
    }

    void take(std::size_t place, std::size_t item) {
        chosen_[place] = item;
        ++n_taken_[kind_[item]];
        next_[before_[item]] = next_[item];
        before_[next_[item]] = before_[item];
        for (ArrangeMarks& marks : marks_) marks.put(place, item);
    }

    // The last place that was filled; its item stays told in chosen_.
    void take_back(std::size_t place) noexcept {
        const std::size_t item = chosen_[place];
        if (item == NONE) return;
        for (ArrangeMarks& marks : marks_) marks.take_back(item);
        next_[before_[item]] = item;
        before_[next_[item]] = item;
        --n_taken_[kind_[item]];
    }

    std::size_t n_;
    ArrangeSlots slots_;
    std::size_t n_slots_;
    std::vector<ArrangeMarks> marks_;
    std::vector<std::size_t> kind_;                  // item → kind
    std::vector<std::vector<std::size_t>> members_;  // kind → its items, in order
    std::vector<std::size_t> n_taken_;               // kind → how many of its items stand in the list
    std::vector<std::size_t> next_;
    std::vector<std::size_t> before_;
    std::vector<std::size_t> chosen_;  // place → item, NONE = free
    std::size_t n_looks_ = 0;
    std::size_t next_bound_ = 0;  // the least excess that the bound cut off
};

Status check(std::size_t n, std::span<const ArrangeRule> rules, std::span<const ArrangeSlot> slots,
             std::span<const std::uint8_t> only, std::size_t k) {
    if (n > ARRANGE_MAX_ITEMS) {
        return Status::invalid("n is " + std::to_string(n) + ", expected 0 to " + std::to_string(ARRANGE_MAX_ITEMS));
    }
    for (std::size_t r = 0; r < rules.size(); ++r) {
        if (rules[r].puts.size() != n || rules[r].looks.size() != n) {
            return Status::invalid("rule " + std::to_string(r) + " has " + std::to_string(rules[r].puts.size()) +
                                   " and " + std::to_string(rules[r].looks.size()) + " marks, expected " +
                                   std::to_string(n));
        }
        if (rules[r].window < 2) return Status::invalid("rule " + std::to_string(r) + " has a window below 2");
    }
    std::vector<std::uint8_t> taken(k, 0);
    for (std::size_t s = 0; s < slots.size(); ++s) {
        const std::string name = "slot " + std::to_string(s);
        if (slots[s].place >= k) {
            return Status::invalid(name + " is at place " + std::to_string(slots[s].place) + " of " +
                                   std::to_string(k));
        }
        if (taken[slots[s].place]++ != 0) {
            return Status::invalid("two slots are at place " + std::to_string(slots[s].place));
        }
        if (!slots[s].free && slots[s].fits.size() != n) {
            return Status::invalid(name + " has " + std::to_string(slots[s].fits.size()) + " entries, expected " +
                                   std::to_string(n));
        }
    }
    if (!only.empty() && only.size() != n) {
        return Status::invalid("only has " + std::to_string(only.size()) + " entries, expected " + std::to_string(n));
    }
    return {};
}

}  // namespace

Result<bool> arrange(std::size_t n, std::span<const ArrangeRule> rules, std::span<const ArrangeSlot> slots,
                     std::span<const std::uint8_t> only, std::span<std::int64_t> indices,
                     std::vector<ArrangeViolation>& violations) noexcept {
    return at_boundary([&]() -> Result<bool> {
        violations.clear();
        // Copied, so that what is checked is what is kept.
        const std::vector<ArrangeRule> own(rules.begin(), rules.end());
        const std::vector<ArrangeSlot> places(slots.begin(), slots.end());
        if (Status status = check(n, own, places, only, indices.size()); !status.ok()) return status;
        // If no array has n entries, n is bounded by no memory, and all items are alike: the first k are enough.
        const bool has_arrays = !own.empty() || !only.empty() || !std::ranges::all_of(places, &ArrangeSlot::free);
        const std::size_t n_used = has_arrays ? n : std::min(n, indices.size());
        Arrangement arrangement(n_used, own, places, only, indices.size());
        const bool whole = arrangement.run();
        arrangement.tell(places, indices, violations);
        return whole;
    });
}

}  // namespace karec
