// Marks of a rule as small numbers. O((n + m) log n).
#include "rules/arrange_marks.hpp"

#include <algorithm>

namespace karec {
namespace {

// The number of `mark` among `known`, sorted; NONE where it is none of them.
std::size_t number_of(const std::vector<std::int64_t>& known, std::int64_t mark) noexcept {
    const auto at = std::lower_bound(known.begin(), known.end(), mark);
    return at != known.end() && *at == mark ? static_cast<std::size_t>(at - known.begin()) : ArrangeMarks::NONE;
}

}  // namespace

// A window longer than shown + list acts like one of that length + 1; the minimum keeps place + window from wrapping.
ArrangeMarks::ArrangeMarks(const ArrangeRule& rule, std::size_t n_places)
    : window_(std::min(rule.window, rule.shown.size() + n_places + 1)),
      allowed_(rule.allowed),
      n_shown_(rule.shown.size()) {
    std::vector<std::int64_t> known;
    const std::vector<std::int64_t> puts(rule.puts.begin(), rule.puts.end());  // copied: read once, whoever writes
    const std::vector<std::int64_t> looks(rule.looks.begin(), rule.looks.end());
    const std::vector<std::int64_t> shown(rule.shown.begin(), rule.shown.end());
    for (const std::int64_t mark : puts) {
        if (mark >= 0) known.push_back(mark);
    }
    for (const std::int64_t mark : shown) {
        if (mark >= 0) known.push_back(mark);
    }
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    std::vector<std::size_t> n_marks(known.size(), 0);
    std::vector<std::size_t> n_looks(known.size(), 0);
    places_.resize(known.size());
    for (const std::int64_t mark : puts) {
        puts_.push_back(number_of(known, mark));
        if (puts_.back() != NONE) ++n_marks[puts_.back()];
    }
    for (std::size_t place = 0; place < shown.size(); ++place) {
        const std::size_t mark = number_of(known, shown[place]);
        if (mark == NONE) continue;
        ++n_marks[mark];
        places_[mark].push_back(place);
    }
    for (std::size_t item = 0; item < looks.size(); ++item) {
        std::size_t mark = number_of(known, looks[item]);
        if (mark != NONE && n_marks[mark] - (puts_[item] == mark) <= allowed_) mark = NONE;
        looks_.push_back(mark);
        if (mark != NONE) ++n_looks[mark];
    }
    for (std::size_t item = 0; item < puts_.size(); ++item) {
        const std::size_t mark = puts_[item];
        if (mark != NONE && n_looks[mark] - (looks_[item] == mark) == 0) puts_[item] = NONE;
    }
}

}  // namespace karec
