#include "ids/table.hpp"

#include <algorithm>

#include "base/read_once.hpp"

namespace karec::ids {
namespace {

constexpr std::size_t kNone = ~std::size_t{0};

Extent extent_at(const Contents& contents, std::size_t i) noexcept {
    const Place& place = contents.places[i / Place::kStrings];
    const std::size_t slot = i % Place::kStrings;
    std::uint64_t before = slot;
    for (std::size_t k = 0; k < Place::kStrings; ++k) before += k < slot ? place.last[k] : 0u;
    return {place.begin + before, place.last[slot] + std::uint64_t{1}};
}

std::string_view within(const Contents& contents, Extent extent) noexcept {
    const std::uint64_t size = contents.text.size();
    if (extent.begin > size || extent.bytes > size - extent.begin) return {};
    return {contents.text.data() + extent.begin, extent.bytes};
}

// Numbers on their way through the same step together: while one's cache line comes, the others ask for theirs.
class Group {
  public:
    static constexpr std::size_t kSize = 32;

    Group(const Contents& contents, std::span<const std::int64_t> wanted) noexcept
        : contents_(contents), n_(wanted.size()) {
        for (std::size_t i = 0; i < n_; ++i) {
            wanted_[i] = read_once(wanted[i]);
            const auto bits = static_cast<std::uint64_t>(wanted_[i]) & (~std::uint64_t{0} >> 1);
            at_[i] = bucket_of(bits, contents.header.bits);
            __builtin_prefetch(&contents.directory[at_[i]]);
        }
    }

    bool finish(std::span<std::string_view> out) noexcept {
        find_buckets();
        find_places();
        find_extents();
        bool whole = true;
        for (std::size_t i = 0; i < n_; ++i) {
            out[i] = at_[i] == kNone ? std::string_view() : within(contents_, extents_[i]);
            whole = whole && (at_[i] == kNone || !out[i].empty());
        }
        return whole;
    }

  private:
    void find_buckets() noexcept {
        const std::size_t n = contents_.numbers.size();
        for (std::size_t i = 0; i < n_; ++i) {
            const std::size_t bucket = at_[i];
            ends_[i] = std::min<std::size_t>(contents_.directory[bucket + 1], n);
            at_[i] = std::min<std::size_t>(contents_.directory[bucket], ends_[i]);
            __builtin_prefetch(contents_.numbers.data() + at_[i]);
            __builtin_prefetch(contents_.numbers.data() + ends_[i] - 1 + (ends_[i] == 0));
        }
    }

    void find_places() noexcept {
        const auto numbers = contents_.numbers;
        for (std::size_t i = 0; i < n_; ++i) {
            // A step of the search moves the start by half: no branch that a random number would mispredict.
            std::size_t first = at_[i];
            for (std::size_t left = ends_[i] - first; left > 0;) {
                const std::size_t half = (left + 1) / 2;
                first += numbers[first + half - 1] < wanted_[i] ? half : 0;
                left -= half;
            }
            const bool found = first < ends_[i] && numbers[first] == wanted_[i];
            at_[i] = found ? first : kNone;
            if (found) __builtin_prefetch(&contents_.places[first / Place::kStrings]);
        }
    }

    void find_extents() noexcept {
        for (std::size_t i = 0; i < n_; ++i) {
            if (at_[i] == kNone) continue;
            extents_[i] = extent_at(contents_, at_[i]);
            const std::string_view text = within(contents_, extents_[i]);
            if (text.empty()) continue;
            __builtin_prefetch(text.data());
            __builtin_prefetch(text.data() + text.size() - 1);
        }
    }

    const Contents& contents_;
    std::size_t n_;
    std::int64_t wanted_[kSize];
    std::size_t at_[kSize];  // bucket, then its first number, then the number's place
    std::size_t ends_[kSize];
    Extent extents_[kSize];
};

}  // namespace

std::string_view text_at(const Contents& contents, std::size_t i) noexcept {
    return within(contents, extent_at(contents, i));
}

bool look_up(const Contents& contents, std::span<const std::int64_t> wanted, std::span<std::string_view> out) noexcept {
    bool whole = true;
    for (std::size_t first = 0; first < wanted.size(); first += Group::kSize) {
        const std::size_t n = std::min(Group::kSize, wanted.size() - first);
        whole = Group(contents, wanted.subspan(first, n)).finish(out.subspan(first, n)) && whole;
    }
    return whole;
}

}  // namespace karec::ids
