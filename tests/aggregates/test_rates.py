"""Smoothed rates, against the sum written out."""

import numpy as np
import pytest

from karec.aggregates.rates import PRIOR_SHOWS, mean_rate, smoothed_rate


def test_smoothed_rate_adds_prior_shows_at_the_mean():
    positives, shows = np.array([0, 3, 50], np.float32), np.array([0, 4, 200], np.float32)
    mean = mean_rate(positives, shows)
    assert mean == 53 / 204
    m = PRIOR_SHOWS
    expected = [mean, (3 + m * mean) / (4 + m), (50 + m * mean) / (200 + m)]
    np.testing.assert_array_equal(smoothed_rate(positives, shows, mean), expected)


def test_rates_are_0_without_impressions():
    nothing = np.zeros(3, np.float32)
    assert mean_rate(nothing, nothing) == 0.0
    assert smoothed_rate(nothing, nothing, 0.0).tolist() == [0.0, 0.0, 0.0]


def test_mean_rate_is_exact_beyond_float32():
    """2²⁴ + 1 is no float32: a float32 sum would lose every further show."""
    shows = np.array([2**24, 1, 1, 1], np.float32)
    assert mean_rate(shows, shows) == 1.0 and mean_rate(
        np.array([0, 1, 1, 1], np.float32), shows
    ) == pytest.approx(3 / (2**24 + 3), rel=1e-15)
