// The residual of a DPP: its bound, and its two representations.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "check.hpp"
#include "diversity/dpp_residual.hpp"
#include "karec/item_index.hpp"

using namespace karec;

TEST(residual_bounds_its_largest_eigenvalue) {
    for (const std::size_t dim : {1u, 5u, 64u, 70u}) {
        std::mt19937_64 random(dim);
        std::normal_distribution<double> normal;
        DppResidual residual(dim);
        residual.fold();
        std::vector<double> f(dim);
        std::vector<double> u(dim);
        for (std::size_t step = 0; step < 3 * dim; ++step) {
            double square = 0.0;
            for (double& x : f) x = normal(random);
            for (const double x : f) square += x * x;
            for (double& x : f) x /= std::sqrt(square);
            const double rho = 1.01 - residual.apply(f, u);
            for (double& x : u) x /= std::sqrt(rho);
            residual.add(u);
            // Power iteration gives a lower bound; (Σλ⁴)^¼ is at most dim^¼ times the largest eigenvalue.
            double largest = 0.0;
            for (int i = 0; i < 100; ++i) {
                residual.apply(f, u);
                double length = 0.0;
                for (const double x : u) length += x * x;
                largest = std::sqrt(length);
                for (std::size_t d = 0; d < dim; ++d) f[d] = u[d] / largest;
            }
            const double bound = residual.bound(dim);
            CHECK(bound >= largest && bound <= 1.01 * std::pow(dim, 0.25) * largest / 0.99);
        }
    }
}

TEST(residual_is_equal_before_and_after_fold) {
    std::mt19937_64 random(6);
    std::normal_distribution<double> normal;
    constexpr std::size_t kWidth = 11;
    DppResidual listed(kWidth);
    DppResidual folded(kWidth);
    folded.fold();
    std::vector<double> feature(kWidth);
    std::vector<double> a(kWidth);
    std::vector<double> b(kWidth);
    for (int step = 0; step < 30; ++step) {
        for (double& x : feature) x = normal(random);
        double square = 0.0;
        for (const double x : feature) square += x * x;
        const double explained = listed.apply(feature, a);
        CHECK(std::abs(explained - folded.apply(feature, b)) < 1e-9);
        for (std::size_t i = 0; i < kWidth; ++i) CHECK(std::abs(a[i] - b[i]) < 1e-9);
        const double scale = 1.0 / std::sqrt(0.1 + square - explained);
        for (double& x : a) x *= scale;
        listed.add(a);
        folded.add(a);
        if (step == 20) listed.fold();
    }
}

TEST(residual_with_added_coordinates_is_equal_before_and_after_fold) {
    std::mt19937_64 random(7);
    std::normal_distribution<double> normal;
    constexpr std::size_t kDense = 9;
    DppResidual listed(kDense);
    DppResidual folded(kDense);
    folded.fold();
    std::size_t width = kDense;
    std::size_t n_further = 0;
    std::vector<double> feature;
    std::vector<double> a;
    std::vector<double> b;
    for (int step = 0; step < 120; ++step) {
        if (n_further > 0 && kDense + n_further == width) {
            width += 4;
            listed.widen(width);
            folded.widen(width);
        }
        feature.assign(width, 0.0);
        a.assign(width, 0.0);
        b.assign(width, 0.0);
        for (std::size_t d = 0; d < kDense; ++d) feature[d] = 0.2 * normal(random);
        if (n_further > 0) feature[kDense + static_cast<std::size_t>(step) % n_further] = 0.4;
        const double explained = listed.apply(feature, a);
        CHECK(std::abs(explained - folded.apply(feature, b)) < 1e-9);
        for (std::size_t i = 0; i < width; ++i) CHECK(std::abs(a[i] - b[i]) < 1e-9);
        const double square = std::inner_product(feature.begin(), feature.end(), feature.begin(), 0.0);
        const double inverse_root = 1.0 / std::sqrt(0.1 + 0.16 + square - explained);
        for (double& x : a) x *= inverse_root;
        listed.add(a);
        folded.add(a);
        if (step % 7 != 3) continue;
        // The row that was added just now had a value of its own, weight 0.16, as noise; it gets a coordinate.
        if (kDense + n_further == width) {
            width += 4;
            listed.widen(width);
            folded.widen(width);
            feature.resize(width, 0.0);
        }
        const NewCoordinate coordinate{kDense + n_further++, feature, 0.4, 0.4 / 0.26};
        listed.extend(coordinate, static_cast<std::size_t>(step), inverse_root);
        folded.extend(coordinate, static_cast<std::size_t>(step), inverse_root);
        for (std::size_t at = 0; at < width; ++at) CHECK(std::abs(listed.diagonal(at) - folded.diagonal(at)) < 1e-9);
    }
    CHECK(n_further == 17);
    CHECK(std::abs(listed.bound(kDense) - folded.bound(kDense)) < 1e-6);
}

// The number of updated blocks decides when the bound is computed; the selection must not depend on it.
TEST(residual_bound_changes_no_bit_of_later_results) {
    for (const bool further : {false, true}) {
        std::mt19937_64 random(8);
        std::normal_distribution<double> normal;
        constexpr std::size_t kDense = 16;
        const std::size_t width = further ? kDense + 8 : kDense;
        DppResidual plain(kDense);
        DppResidual bounded(kDense);
        std::vector<double> feature(width);
        std::vector<double> a(width);
        std::vector<double> b(width);
        if (further) {
            plain.widen(width);
            bounded.widen(width);
        }
        for (int step = 0; step < 50; ++step) {
            if (step == 20) {
                plain.fold();
                bounded.fold();
            }
            std::ranges::fill(feature, 0.0);
            for (std::size_t d = 0; d < kDense; ++d) feature[d] = 0.2 * normal(random);
            if (further) feature[kDense + static_cast<std::size_t>(step) % 8] = 0.4;
            CHECK(plain.apply(feature, a) == bounded.apply(feature, b) && a == b);
            for (double& x : a) x *= 0.7;
            plain.add(a);
            bounded.add(a);
            if (step % 3 == 0) CHECK(bounded.bound(kDense) > 0.0 && bounded.diagonal(width - 1) <= 1.0);
        }
    }
}
