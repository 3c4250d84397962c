"""Confidence sequences: the boundary is that of a Gaussian mixture, and holds at all looks together."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from karec.experiments.confidence_sequence import half_width_in_standard_errors


@given(st.integers(10, 10_000_000), st.sampled_from([0.01, 0.05, 0.1]))
def test_mixture_of_likelihood_ratios_is_1_over_alpha_at_the_boundary(n, alpha):
    best_n = 20_000
    total = half_width_in_standard_errors(n, alpha, best_n) * math.sqrt(n)  # of n values of unit variance
    log = -2 * math.log(alpha)
    scale = math.sqrt((log + math.log(log) + 1) / best_n)
    centre, width = total * scale**2 / (1 + n * scale**2), scale / math.sqrt(1 + n * scale**2)

    def density(rate):
        return math.exp(rate * total - rate**2 * n / 2 + norm.logpdf(rate, scale=scale))

    mixture, _ = quad(density, centre - 12 * width, centre + 12 * width, points=[centre])
    assert mixture == pytest.approx(1 / alpha, rel=1e-6)


def test_few_random_walks_leave_the_interval_at_any_look():
    rng = np.random.default_rng(0)
    n = np.arange(1, 41) * 500
    sums = rng.normal(0, math.sqrt(500), (4_000, 40)).cumsum(axis=1)
    half = np.array([half_width_in_standard_errors(int(m), 0.05) for m in n]) * np.sqrt(n)
    assert (np.abs(sums) > half).any(axis=1).mean() < 0.05
    fixed = 1.96 * np.sqrt(n)
    assert (np.abs(sums) > fixed).any(axis=1).mean() > 0.2  # intervals of one look do not hold at 40


def test_interval_is_narrowest_at_best_n_and_wider_than_for_one_look():
    halves = [half_width_in_standard_errors(n, 0.05, 20_000) / math.sqrt(n) for n in (19_000, 20_000, 21_000)]
    assert half_width_in_standard_errors(20_000, 0.05) > 1.96
    others = [half_width_in_standard_errors(20_000, 0.05, best) for best in (2_000, 10_000, 40_000, 200_000)]
    assert halves[0] > halves[1] > halves[2]
    assert half_width_in_standard_errors(20_000, 0.05) < 1.01 * min(others)


@pytest.mark.parametrize(("n", "alpha", "best_n"), [(0, 0.05, 1), (1, 0, 1), (1, 0.5, 1), (1, 0.05, 0)])
def test_numbers_out_of_range_are_refused(n, alpha, best_n):
    with pytest.raises(ValueError, match="expected n, best_n > 0"):
        half_width_in_standard_errors(n, alpha, best_n)
