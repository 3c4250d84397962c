#include "ids/id_file.hpp"

#include <algorithm>

#include "base/read_once.hpp"

namespace karec::ids {
namespace {

constexpr std::size_t kNone = ~std::size_t{0};

// A group of numbers is looked up step by step together, so that their cache lines are fetched at the same time.
class Group {
  public:
    static constexpr std::size_t kSize = 32;

    Group(const Contents& contents, std::span<const std::int64_t> wanted) noexcept
        : contents_(contents), n_(wanted.size()) {
        for (std::size_t i = 0; i < n_; ++i) {
            wanted_[i] = read_once(wanted[i]);
            positions_[i] = bucket_of(wanted_[i] & INT64_MAX, contents.bits);
            __builtin_prefetch(&contents.directory[positions_[i]]);
        }
    }

    bool find(std::span<std::string_view> out) noexcept {
        find_buckets();
        find_positions();
        bool is_whole = true;
        for (std::size_t i = 0; i < n_; ++i) {
            out[i] = positions_[i] == kNone ? std::string_view() : string_at(contents_, positions_[i]);
            is_whole = is_whole && (positions_[i] == kNone || !out[i].empty());
            if (out[i].empty()) continue;
            __builtin_prefetch(out[i].data());
            __builtin_prefetch(out[i].data() + out[i].size() - 1);
        }
        return is_whole;
    }

  private:
    void find_buckets() noexcept {
        const std::size_t n = contents_.numbers.size();
        for (std::size_t i = 0; i < n_; ++i) {
            const std::size_t bucket = positions_[i];
            ends_[i] = std::min<std::size_t>(contents_.directory[bucket + 1], n);
            positions_[i] = std::min<std::size_t>(contents_.directory[bucket], ends_[i]);
            __builtin_prefetch(contents_.numbers.data() + positions_[i]);
            __builtin_prefetch(contents_.numbers.data() + ends_[i] - 1 + (ends_[i] == 0));
        }
    }

    void find_positions() noexcept {
        const auto numbers = contents_.numbers;
        for (std::size_t i = 0; i < n_; ++i) {
            // A step of the search moves the start by half: no branch that a random number would mispredict.
            std::size_t first = positions_[i];
            for (std::size_t left = ends_[i] - first; left > 0;) {
                const std::size_t half = (left + 1) / 2;
                first += numbers[first + half - 1] < wanted_[i] ? half : 0;
                left -= half;
            }
            const bool is_found = first < ends_[i] && numbers[first] == wanted_[i];
            positions_[i] = is_found ? first : kNone;
            if (is_found) __builtin_prefetch(&contents_.places[first / Place::kStrings]);
        }
    }

    const Contents& contents_;
    std::size_t n_;
    std::int64_t wanted_[kSize];
    std::size_t positions_[kSize];  // of the bucket, then of its first number, then of the number
    std::size_t ends_[kSize];
};

}  // namespace

std::string_view string_at(const Contents& contents, std::size_t i) noexcept {
    const Place& place = contents.places[i / Place::kStrings];
    const std::size_t slot = i % Place::kStrings;
    std::uint64_t n_before = slot;
    for (std::size_t k = 0; k < Place::kStrings; ++k) n_before += k < slot ? place.last[k] : 0u;
    const std::uint64_t begin = place.begin + n_before;
    const std::uint64_t bytes = place.last[slot] + std::uint64_t{1};
    const std::uint64_t size = contents.text.size();
    if (begin > size || bytes > size - begin) return {};
    return {contents.text.data() + begin, bytes};
}

bool find_strings(const Contents& contents, std::span<const std::int64_t> wanted,
                  std::span<std::string_view> out) noexcept {
    bool is_whole = true;
    for (std::size_t first = 0; first < wanted.size(); first += Group::kSize) {
        const std::size_t n = std::min(Group::kSize, wanted.size() - first);
        is_whole = Group(contents, wanted.subspan(first, n)).find(out.subspan(first, n)) && is_whole;
    }
    return is_whole;
}

}  // namespace karec::ids
