// Algorithm: a set of rows, one bit a row: the ranges of the probed lists, corrected by the rows that were written
// since the lists were built, without closed rows. The set gives each row once, in order.
#include <algorithm>
#include <bit>
#include <numeric>

#include "search/mask_word.hpp"
#include "search/scan.hpp"

namespace karec {
namespace {

constexpr std::size_t kWord = 64;

// is_probed[list] = 1 for the n_probe lists to read, and for the number after the last list: rows in no list.
ScratchVector<std::uint8_t> find_probed_lists(const RowLists& lists, const Query& query, std::size_t n_probe) {
    ScratchVector<std::uint8_t> is_probed(lists.n() + 1);
    is_probed[lists.n()] = 1;
    std::span<const float> values = query.values;
    for (const VersionQuery& version_query : query.by_version) {
        if (version_query.model_version == lists.model_version) values = version_query.values;
    }
    if (values.empty()) return is_probed;  // the query has no values for the version of the centroids
    ScratchVector<float> padded(lists.format.padded_dim());
    std::ranges::copy(values, padded.begin());
    ScratchVector<float> products(lists.n());
    lists.dot_all(padded.data(), products.data());
    TopK nearest(std::min(n_probe, lists.n()), lists.n());
    nearest.offer(products.data(), nullptr, lists.n(), 0);
    nearest.finish([&](std::size_t, float, std::uint32_t list) { is_probed[list] = 1; });
    return is_probed;
}

class RowBits {
  public:
    explicit RowBits(std::size_t n) : words_((n + kWord - 1) / kWord) {}
    std::size_t n_words() const noexcept { return words_.size(); }
    std::uint64_t word(std::size_t index) const noexcept { return words_[index]; }
    void set(std::size_t row, bool is_member) noexcept {
        const std::uint64_t bit = std::uint64_t{1} << row % kWord;
        words_[row / kWord] = is_member ? words_[row / kWord] | bit : words_[row / kWord] & ~bit;
    }
    void set_range(std::size_t begin, std::size_t end) noexcept {
        while (begin < end) {
            const std::size_t word_end = std::min(end, begin / kWord * kWord + kWord);
            const std::uint64_t ones = ~std::uint64_t{0} >> (kWord - (word_end - begin));
            words_[begin / kWord] |= ones << begin % kWord;
            begin = word_end;
        }
    }

  private:
    ScratchVector<std::uint64_t> words_;
};

}  // namespace

ScratchVector<std::int32_t> find_probed_rows(const Generation& g, const Query& query,
                                             std::span<const std::uint8_t> mask, std::size_t n_probe) {
    const RowLists& lists = *g.lists;
    const ScratchVector<std::uint8_t> is_probed = find_probed_lists(lists, query, n_probe);
    RowBits bits(g.n_rows());
    std::size_t max_rows = g.n_rows() - lists.n_ranged_rows();
    for (std::size_t list = 0; list < is_probed.size(); ++list) {
        if (is_probed[list] == 0) continue;
        bits.set_range(lists.begin(list), lists.end(list));
        max_rows += lists.end(list) - lists.begin(list);
    }
    // Closed rows are skipped: a writer may write their list_of.
    for (std::size_t w = 0; w < std::min(g.moved.words().size(), bits.n_words()); ++w) {
        const std::uint64_t moved = g.moved.word(w);
        max_rows += static_cast<std::size_t>(std::popcount(moved));
        for (std::uint64_t rest = moved & ~g.closed.word(w); rest != 0; rest &= rest - 1) {
            const std::size_t row = w * kWord + static_cast<std::size_t>(std::countr_zero(rest));
            bits.set(row, is_probed[*g.list_of.at(row)] != 0);
        }
    }
    for (std::size_t row = lists.n_ranged_rows(); row < g.n_rows(); ++row) {
        if (!g.closed.has(row)) bits.set(row, is_probed[*g.list_of.at(row)] != 0);
    }
    ScratchVector<std::int32_t> rows(max_rows + kWord);
    std::size_t n = 0;
    for (std::size_t w = 0; w < bits.n_words(); ++w) {
        std::uint64_t rest = bits.word(w) & ~g.closed.word(w);
        if (rest != 0 && !mask.empty()) rest &= mask_word(mask, w * kWord);
        const auto first = static_cast<std::int32_t>(w * kWord);
        if (rest == ~std::uint64_t{0}) {
            std::iota(&rows[n], &rows[n] + kWord, first);
            n += kWord;
            continue;
        }
        for (; rest != 0; rest &= rest - 1) rows[n++] = first + std::countr_zero(rest);
    }
    rows.resize(n);
    return rows;
}

}  // namespace karec
