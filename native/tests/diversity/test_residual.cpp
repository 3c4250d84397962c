// The residual of a DPP: its bound, and its two representations.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "check.hpp"
#include "diversity/residual.hpp"
#include "karec/item_index.hpp"

using namespace karec;

TEST(a_residual_bounds_its_largest_eigenvalue) {
    for (const std::size_t dim : {1u, 5u, 64u, 70u}) {
        std::mt19937_64 random(dim);
        std::normal_distribution<double> normal;
        Residual residual(dim);
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

TEST(a_residual_is_the_same_listed_and_folded) {
    std::mt19937_64 random(6);
    std::normal_distribution<double> normal;
    constexpr std::size_t kWidth = 11;
    Residual listed(kWidth);
    Residual folded(kWidth);
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
