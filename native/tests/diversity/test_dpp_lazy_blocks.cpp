// DppLazyBlocks gives the same bits as applying every direction to every item at once.
#include "diversity/dpp_lazy_blocks.hpp"

#include <cmath>
#include <random>
#include <vector>

#include "check.hpp"
#include "diversity/dpp_residual.hpp"

using namespace karec;

namespace {

struct Direction {
    std::vector<float> values;
    std::vector<float> offsets;  // by slot
};

// The definition: every direction is applied to every item at once, in float32, dimension by dimension.
class Eager {
  public:
    explicit Eager(const DppProblem& problem)
        : problem_(problem), q2_(problem.q2), features_(problem.n()), slots_(problem.n()) {
        for (std::size_t i = 0; i < problem.n(); ++i) {
            const auto factor =
                static_cast<float>(length_factor(problem.rows.squared_norms[i], problem.rows.vector_length));
            const float* row = problem.rows.items.floats(i, nullptr);
            for (std::size_t d = 0; d < problem.dim(); ++d) features_[i].push_back(row[d] * factor);
            rho_.push_back(static_cast<float>(problem.first_rho[i]));
            min_rho_.push_back(static_cast<float>(kMinGainFraction * problem.first_rho[i]));
        }
    }

    void apply(const Direction& direction, std::vector<float>& rho) const {
        for (std::size_t i = 0; i < rho.size(); ++i) {
            float dot = 0.0f;
            for (const std::uint32_t slot : slots_[i]) {
                if (slot < direction.offsets.size()) dot += direction.offsets[slot];
            }
            for (std::size_t d = 0; d < problem_.dim(); ++d) {
                dot = std::fmaf(features_[i][d], direction.values[d], dot);
            }
            rho[i] = std::fmaf(-dot, dot, rho[i]);
        }
    }

    void add_permanent(const Direction& direction) { apply(direction, rho_); }

    void add_slot_rows(const std::vector<SlotRow>& rows) {
        for (const auto [row, slot] : rows) {
            if (row < slots_.size()) slots_[row].push_back(slot);
        }
    }

    DppPick best(const std::vector<Direction>& window) const {
        std::vector<float> rho = rho_;
        for (const Direction& direction : window) apply(direction, rho);
        DppPick best;
        for (std::size_t i = 0; i < rho.size(); ++i) {
            const double gain = rho[i] > min_rho_[i] ? q2_[i] * static_cast<double>(rho[i]) : 0.0;
            if (gain > best.gain) best = {gain, i};
        }
        return best;
    }

    void remove(std::size_t item) { q2_[item] = 0.0; }
    void restore(std::size_t item) { q2_[item] = problem_.q2[item]; }

  private:
    const DppProblem& problem_;
    std::vector<double> q2_;
    std::vector<std::vector<float>> features_;
    std::vector<std::vector<std::uint32_t>> slots_;
    std::vector<float> rho_;
    std::vector<float> min_rho_;
};

}  // namespace

TEST(lazy_blocks_give_the_bits_of_eager_updates) {
    for (unsigned seed = 0; seed < 40; ++seed) {
        std::mt19937 random(seed);
        std::normal_distribution<double> normal;
        const std::size_t n = 1 + random() % 500;
        const std::size_t dim = 1 + random() % 9;
        // Few distinct vectors and few levels of relevance, so that gains are tied within blocks and across them.
        std::vector<float> embeddings(n * dim);
        std::vector<float> relevance(n);
        std::vector<std::int64_t> facets(2 * n);
        for (float& x : embeddings) x = static_cast<float>(random() % 3) - 1.0f;
        for (float& r : relevance) r = static_cast<float>(random() % 4);
        const std::vector<double> weights = {0.3, 0.2};
        DppOptions options;
        const bool faceted = seed % 2 == 1;
        if (faceted) options.facets = facets;
        if (faceted) options.facet_weights = weights;
        const auto problem_result =
            DppProblem::make(MatrixView{embeddings.data(), n, dim, DType::float32}, relevance, options);
        CHECK(problem_result.ok());
        const DppProblem& problem = problem_result.value();
        DppLazyBlocks blocks(problem);
        Eager eager(problem);
        std::uint32_t n_slots = 0;
        std::vector<std::size_t> n_slots_of(n, 0);
        std::vector<Direction> window;
        const auto some_numbers = [&](std::size_t count) {
            std::vector<float> numbers(count);
            for (float& x : numbers) x = 0.15f * static_cast<float>(normal(random));
            return numbers;
        };
        for (int step = 0; step < 60; ++step) {
            // A value gets its slot at some step; directions that were added before have no offset for it.
            if (faceted && step % 3 == 0) {
                std::vector<SlotRow> rows = {{static_cast<std::uint32_t>(n), n_slots}};  // no item
                for (std::uint32_t row = 0; row < n; ++row) {
                    if (n_slots_of[row] == 2 || random() % 4 != 0) continue;
                    rows.push_back({row, n_slots});
                    ++n_slots_of[row];
                }
                ++n_slots;
                blocks.add_slot_rows(rows);
                eager.add_slot_rows(rows);
            }
            const Direction direction{some_numbers(dim), some_numbers(n_slots)};
            switch (random() % 4) {
                case 0:
                    blocks.add_permanent(direction.values, direction.offsets);
                    eager.add_permanent(direction);
                    break;
                case 1:
                    blocks.add_window(direction.values, direction.offsets);
                    window.push_back(direction);
                    break;
                case 2:
                    blocks.clear_window();
                    window.clear();
                    break;
                default: {
                    const std::size_t item = random() % n;
                    blocks.remove(item);
                    eager.remove(item);
                    if (random() % 4 == 0) {
                        blocks.restore(item);
                        eager.restore(item);
                    }
                }
            }
            const DppPick lazy = blocks.best();
            const DppPick expected = eager.best(window);
            CHECK(lazy.item == expected.item && lazy.gain == expected.gain);
            if (lazy.item == DppPick::kNone || step % 2 == 0) continue;
            blocks.remove(lazy.item);
            eager.remove(lazy.item);
        }
    }
}

TEST(lazy_blocks_break_ties_with_a_stale_block_by_index) {
    // Items 100 … 199 have gain 1 at first and are in the first blocks. Three directions take exactly ¾ of it; then
    // their gain equals that of items 0 … 99, whose q² is ¼.
    constexpr std::size_t kHalf = 100;
    std::vector<float> embeddings(4 * kHalf);
    std::vector<float> weights(2 * kHalf);
    for (std::size_t i = 0; i < 2 * kHalf; ++i) {
        embeddings[2 * i + (i < kHalf ? 1 : 0)] = 1.0f;
        weights[i] = i < kHalf ? 0.5f : 1.0f;
    }
    const std::vector<float> relevance(2 * kHalf);
    DppOptions options;
    options.weights = weights;
    options.ridge = 0.0;
    const auto problem =
        DppProblem::make(MatrixView{embeddings.data(), 2 * kHalf, 2, DType::float32}, relevance, options);
    const std::vector<float> direction = {0.5f, 0.0f};
    DppLazyBlocks permanent(problem.value());
    DppLazyBlocks window(problem.value());
    CHECK(permanent.best().item == kHalf);
    for (int i = 0; i < 3; ++i) {
        permanent.add_permanent(direction, {});
        window.add_window(direction, {});
    }
    CHECK(permanent.best().item == 0 && permanent.best().gain == 0.25);
    CHECK(window.best().item == 0 && window.best().gain == 0.25);
}

TEST(bounds_by_the_largest_eigenvalue_save_updates_and_change_no_bit) {
    for (const double ridge : {1e-2, 0.0, 3.0}) {
        std::mt19937 random(5);
        std::normal_distribution<float> normal;
        constexpr std::size_t kItems = 3000;
        constexpr std::size_t kDim = 12;
        std::vector<float> embeddings(kItems * kDim);
        std::vector<float> relevance(kItems);
        for (float& x : embeddings) x = normal(random);
        for (float& r : relevance) r = normal(random);
        DppOptions options;
        options.ridge = ridge;
        const auto problem =
            DppProblem::make(MatrixView{embeddings.data(), kItems, kDim, DType::float32}, relevance, options);
        DppLazyBlocks bounded(problem.value());
        DppLazyBlocks plain(problem.value());
        Eager eager(problem.value());
        DppResidual residual(kDim);
        residual.fold();
        std::size_t n_updates = 0;
        for (int step = 0; step < 60; ++step) {
            const DppPick expected = eager.best({});
            CHECK(bounded.best().item == expected.item && bounded.best().gain == expected.gain);
            CHECK(plain.best().item == expected.item && plain.best().gain == expected.gain);
            if (expected.item == DppPick::kNone) break;
            std::vector<double> feature(kDim);
            std::vector<double> direction(kDim);
            problem->feature(expected.item, feature);
            const double rho = problem->first_rho[expected.item] - residual.apply(feature, direction);
            if (rho <= kMinGainFraction * problem->first_rho[expected.item]) break;
            for (double& u : direction) u /= std::sqrt(rho);
            residual.add(direction);
            const Direction rounded{{direction.begin(), direction.end()}, {}};
            for (DppLazyBlocks* blocks : {&bounded, &plain}) {
                blocks->add_permanent(rounded.values, rounded.offsets);
                blocks->remove(expected.item);
            }
            eager.add_permanent(rounded);
            eager.remove(expected.item);
            n_updates += bounded.n_updates();
            bounded.lower_bounds(residual.bound(kDim));
            CHECK(bounded.n_updates() == 0);
        }
        CHECK(n_updates <= plain.n_updates() && (ridge != 1e-2 || 2 * n_updates < plain.n_updates()));
    }
}
