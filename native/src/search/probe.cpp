// A set of rows, one bit a row: the ranges of the probed lists, corrected by the rows that were written since the lists
// were made, without closed rows. It gives the rows in order, and each once.
#include "search/probe.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "search/top_k.hpp"

namespace karec {
namespace {

constexpr std::size_t kWord = 64;

// probed[list] = 1 for the lists to be read.
ScratchVector<std::uint8_t> probed_lists(const RowLists& lists, const Query& query, std::size_t n_probe) {
    ScratchVector<std::uint8_t> probed(lists.n() + 1);
    probed[lists.n()] = 1;  // what is in no list
    std::span<const float> values = query.values;
    for (const VersionQuery& each : query.by_version) {
        if (each.model_version == lists.model_version) values = each.values;
    }
    if (values.empty()) return probed;  // works of the lists' version meet no query
    ScratchVector<float> padded(lists.format.padded_dim());
    std::ranges::copy(values, padded.begin());
    ScratchVector<float> dots(lists.n());
    lists.dot_all(padded.data(), dots.data());
    TopK nearest(std::min(n_probe, lists.n()), lists.n());
    nearest.offer(dots.data(), nullptr, lists.n(), 0);
    nearest.finish([&](std::size_t, float, std::uint32_t list) { probed[list] = 1; });
    return probed;
}

class Rows64 {
  public:
    explicit Rows64(std::size_t n) : words_((n + kWord - 1) / kWord) {}
    std::size_t size() const noexcept { return words_.size(); }
    std::uint64_t& operator[](std::size_t at) noexcept { return words_[at]; }
    void put(std::size_t row, bool in) noexcept {
        const std::uint64_t bit = std::uint64_t{1} << row % kWord;
        words_[row / kWord] = in ? words_[row / kWord] | bit : words_[row / kWord] & ~bit;
    }
    void put_range(std::size_t begin, std::size_t end) noexcept {
        while (begin < end) {
            const std::size_t to = std::min(end, begin / kWord * kWord + kWord);
            const std::uint64_t ones = ~std::uint64_t{0} >> (kWord - (to - begin));
            words_[begin / kWord] |= ones << begin % kWord;
            begin = to;
        }
    }

  private:
    ScratchVector<std::uint64_t> words_;
};

// Bit i: whether the mask keeps row first + i.
std::uint64_t kept_by(std::span<const std::uint8_t> mask, std::size_t first) noexcept {
    std::uint64_t kept = 0;
    for (std::size_t i = 0; i < kWord && first + i < mask.size(); ++i) {
        kept |= std::uint64_t{mask[first + i] != 0} << i;
    }
    return kept;
}

}  // namespace

ScratchVector<std::int32_t> probed_rows(const Generation& g, const Query& query, std::span<const std::uint8_t> mask,
                                        std::size_t n_probe) {
    const RowLists& lists = *g.lists;
    const ScratchVector<std::uint8_t> probed = probed_lists(lists, query, n_probe);
    Rows64 found(g.n_rows());
    std::size_t at_most = g.n_rows() - lists.n_ranged_rows();
    for (std::size_t list = 0; list < probed.size(); ++list) {
        if (probed[list] == 0) continue;
        found.put_range(lists.begin(list), lists.end(list));
        at_most += lists.end(list) - lists.begin(list);
    }
    // A writer may be writing list_of where a row holds no work.
    for (std::size_t word = 0; word < std::min(g.moved.words().size(), found.size()); ++word) {
        const std::uint64_t moved = g.moved.word(word);
        at_most += static_cast<std::size_t>(std::popcount(moved));
        for (std::uint64_t left = moved & ~g.closed.word(word); left != 0; left &= left - 1) {
            const std::size_t row = word * kWord + static_cast<std::size_t>(std::countr_zero(left));
            found.put(row, probed[*g.list_of.at(row)] != 0);
        }
    }
    for (std::size_t row = lists.n_ranged_rows(); row < g.n_rows(); ++row) {
        if (!g.closed.has(row)) found.put(row, probed[*g.list_of.at(row)] != 0);
    }
    ScratchVector<std::int32_t> rows(at_most + kWord);
    std::size_t n = 0;
    for (std::size_t word = 0; word < found.size(); ++word) {
        std::uint64_t left = found[word] & ~g.closed.word(word);
        if (left != 0 && !mask.empty()) left &= kept_by(mask, word * kWord);
        const auto first = static_cast<std::int32_t>(word * kWord);
        if (left == ~std::uint64_t{0}) {
            std::iota(&rows[n], &rows[n] + kWord, first);
            n += kWord;
            continue;
        }
        for (; left != 0; left &= left - 1) rows[n++] = first + std::countr_zero(left);
    }
    rows.resize(n);
    return rows;
}

}  // namespace karec
