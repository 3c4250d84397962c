#include "features/cross_tables.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/npy.hpp"
#include "features/code_map.hpp"

namespace karec {
namespace {

constexpr std::int64_t kOther = std::numeric_limits<std::int64_t>::max();  // a code that no list has

// The distinct codes of the user's lists in a category; 0 is the first.
ScratchVector<std::int64_t> find_codes(const CrossInputs& user, std::size_t category) {
    ScratchVector<std::int64_t> codes(1);
    CodeMap<bool> found;
    const auto& [affinity_history, affinity_skipped, rates, shares] = user.affinities;
    found.reset((user.history.size() + user.skipped.size() + affinity_history.size() + affinity_skipped.size()) /
                    user.n_categories +
                user.follows.size() + user.friends.size() + user.shared.size());
    const auto add = [&](std::int64_t code) {
        if (code == 0 || std::exchange(found.add(code), true)) return;
        codes.push_back(code);
    };
    for (const auto& list : {user.history, user.skipped, affinity_history, affinity_skipped}) {
        for (std::size_t at = category; at < list.size(); at += user.n_categories) add(list[at]);
    }
    if (user.has_creators && category == user.creator) {
        for (const auto& edges : {user.follows, user.friends}) std::ranges::for_each(edges, add);
    }
    for (std::size_t p = 0; p < user.shared.size(); ++p) {
        if (user.shared[p] == category) add(user.alike[p]);
    }
    return codes;
}

double compute_term(const CrossWeights& weights, std::size_t feature, double x) noexcept {
    const std::size_t n_pieces = weights.low.size() / weights.columns.size();
    const double* low = weights.low.data() + feature * n_pieces;
    const double* per_width = weights.per_width.data() + feature * n_pieces;
    const double* weight = weights.weights.data() + feature * (n_pieces + 1);
    double sum = weight[n_pieces] * x;
    for (std::size_t b = 0; b < n_pieces; ++b) sum += weight[b] * std::clamp((x - low[b]) * per_width[b], 0.0, 1.0);
    return sum;
}

// The features of one category, and their sum for rows of crosses.
class CategoryTerms {
  public:
    CategoryTerms(const CrossInputs& user, const CrossWeights& weights, std::size_t category) : weights_(weights) {
        for (std::size_t f = 0; f < weights.columns.size(); ++f) {
            if (user.category_of(weights.columns[f]) == category)
                features_.emplace_back(f, compute_term(weights, f, 0));
        }
    }
    float sum(const float* crosses) const noexcept {
        double sum = 0.0;
        for (const auto& [f, term_of_0] : features_) {
            const float x = crosses[weights_.columns[f]];
            sum += x == 0.0f ? term_of_0 : compute_term(weights_, f, static_cast<double>(x));  // most crosses are 0
        }
        return static_cast<float>(sum);
    }

  private:
    const CrossWeights& weights_;
    ScratchVector<std::pair<std::size_t, double>> features_;
};

// Copies an array of floating numbers. Returns false if it is missing, of another shape, or not finite.
bool copy_numbers(const NpyArrays& arrays, std::string_view name, const std::vector<std::size_t>& shape,
                  std::vector<double>& to) {
    const NpyArray* array = find_array(arrays, name);
    if (array == nullptr || !array->is_floating() || array->shape != shape) return false;
    to.resize(array->bytes.size() / size_of(array->dtype));
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = array->real(i);
    return std::ranges::all_of(to, [](double x) { return std::isfinite(x); });
}

}  // namespace

Result<CrossWeights> CrossWeights::read(std::span<const std::byte> npz) {
    const auto arrays = read_npz(npz);
    if (!arrays.ok()) return arrays.status();
    const NpyArray* columns = find_array(arrays.value(), "columns");
    const NpyArray* low = find_array(arrays.value(), "low");
    const NpyArray* heads = find_array(arrays.value(), "weights");
    const bool has_shapes = columns != nullptr && columns->is_integer() && columns->size() > 0 && low != nullptr &&
                            low->shape.size() == 2 && heads != nullptr && heads->shape.size() == 3 &&
                            heads->shape[0] > 0;
    if (!has_shapes) return Status::bad_format("columns (F,), low (F, B) or weights (H, F, B + 1) are missing");
    CrossWeights weights;
    for (std::size_t f = 0; f < columns->size(); ++f) {
        weights.columns.push_back(static_cast<std::size_t>(columns->integer(f)));
    }
    const std::size_t n = columns->size();
    const std::size_t n_pieces = low->shape[1];
    const bool is_valid = copy_numbers(arrays.value(), "low", {n, n_pieces}, weights.low) &&
                          copy_numbers(arrays.value(), "per_width", {n, n_pieces}, weights.per_width) &&
                          copy_numbers(arrays.value(), "weights", {heads->shape[0], n, n_pieces + 1}, weights.weights);
    if (!is_valid) return Status::bad_format("low, per_width or weights have another shape or a number not finite");
    weights.weights.resize(n * (n_pieces + 1));  // the first head
    return weights;
}

ScratchVector<CrossTable> compute_cross_tables(const CrossInputs& user, const CrossWeights& weights,
                                               std::span<const std::size_t> categories) {
    ScratchVector<ScratchVector<std::int64_t>> codes;
    std::size_t n_codes = 0;
    for (const std::size_t category : categories) {
        codes.push_back(find_codes(user, category));
        n_codes = std::max(n_codes, codes.back().size());
    }
    CrossInputs in = user;
    in.n_items = 1 + n_codes;
    ScratchVector<std::int64_t> items(in.n_items * in.n_categories);
    for (std::size_t t = 0; t < categories.size(); ++t) {
        items[categories[t]] = kOther;
        for (std::size_t row = 0; row < codes[t].size(); ++row) {
            items[(1 + row) * in.n_categories + categories[t]] = codes[t][row];
        }
    }
    in.items = items;
    in.cowatch = {};
    in.positions = {};
    ScratchVector<float> crosses(in.n_items * in.width());
    const Status status = compute_crosses(in, crosses);  // without co-watch rows nothing can be wrong
    ScratchVector<CrossTable> tables;
    ScratchVector<std::pair<std::uint32_t, float>> entries;
    for (std::size_t t = 0; t < categories.size() && status.ok(); ++t) {
        const CategoryTerms terms(user, weights, categories[t]);
        entries.clear();
        for (std::size_t row = 0; row < codes[t].size(); ++row) {
            entries.emplace_back(to_code32(codes[t][row]), terms.sum(crosses.data() + (1 + row) * in.width()));
        }
        std::ranges::sort(entries);
        CrossTable& table = tables.emplace_back();
        table.other = terms.sum(crosses.data());
        for (const auto& [code, value] : entries) {
            if (!table.codes.empty() && table.codes.back() == code) continue;  // two unseen values with one code
            table.codes.push_back(code);
            table.values.push_back(value);
        }
    }
    return tables;
}

}  // namespace karec
