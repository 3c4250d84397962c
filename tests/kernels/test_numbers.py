"""Numbers of model inputs against the C library's logarithms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec import _native
from karec.times import HOUR_MS

ODD = [0.0, -0.0, -1.0, -2.0, 5e-324, 1e-300, 1e-17, 1e300, math.inf, -math.inf, math.nan]
reals = st.lists(st.floats() | st.integers(0, 1000).map(float) | st.sampled_from(ODD), max_size=30)
counts = st.lists(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), max_size=8)


def bits(array):
    """As integers, with one NaN."""
    return np.where(np.isnan(array), np.nan, array).view(f"i{array.itemsize}").tolist()


@given(st.lists(st.floats(0, 1e300), max_size=20))
def test_logarithms_are_close_to_the_c_library(values):
    np.testing.assert_allclose(_native.log1p(np.array(values)), [math.log1p(x) for x in values], rtol=5e-16)


@given(counts)
def test_rate_is_the_smoothed_log_odds_against_the_prior(rows):
    given, priors = np.array(rows, np.float32).reshape(-1, 3), np.array([0.02, 0.5])
    result = _native.counter_numbers(given, priors)
    for row, (exposed, *positives) in zip(result, given.astype(float).tolist(), strict=True):
        expected = [math.log1p(exposed) / 4]
        for c, p in zip(positives, priors, strict=True):
            odds = (c + 10 * p) / (max(exposed - c, 0) + 10 * (1 - p))
            expected.append(math.log(odds) - math.log(p / (1 - p)))
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-6)


def test_age_is_not_negative_and_0_if_unknown():
    result = _native.log_hours(np.array([0, -5, 10, 10, 10]), np.array([50, 50, 10, 3, 10 + 3 * HOUR_MS]))
    np.testing.assert_allclose(result, [np.nan, np.nan, 0, 0, math.log(4)], rtol=1e-15)


def test_scaled_maps_nan_to_mean_and_clips_infinity():
    values = np.array([2.5, np.nan, np.inf, -np.inf])
    assert _native.scaled(values, False, 2.0, 0.5).tolist() == [1.0, 0.0, 8.0, -8.0]


def test_counter_numbers_of_no_columns_are_empty():
    assert _native.counter_numbers(np.zeros((3, 0), np.float32), np.empty(0)).shape == (3, 0)
    with pytest.raises(ValueError, match="priors"):
        _native.counter_numbers(np.zeros((3, 3), np.float32), np.full(3, 0.5))
    with pytest.raises(ValueError, match="time_ms"):
        _native.log_hours(np.zeros(3, np.int64), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="scale must be positive"):
        _native.scaled(np.zeros(3), False, 0.0, 0.0)
    for scale in (math.inf, math.nan, -1.0):
        with pytest.raises(ValueError, match="scale must be positive and finite, got"):
            _native.scaled(np.zeros(3), False, 0.0, scale)
    for mean in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="mean must be finite, got"):
            _native.scaled(np.zeros(3), False, mean, 1.0)


@pytest.mark.parametrize(
    "priors", [[0.1, 0.2], [[0.1], [0.2, 0.3]], "many", 0.5, None, np.full((1, 1, 1), 0.5)]
)
def test_counter_numbers_reject_priors_of_another_shape(priors):
    with pytest.raises(ValueError, match=r"priors|array element"):
        _native.counter_numbers([[2.0, 1.0]], priors)


def test_counter_numbers_accept_lists():
    result = _native.counter_numbers([[2.0, 1.0]], [0.25])
    np.testing.assert_array_equal(result, _native.counter_numbers(np.array([[2.0, 1.0]]), np.array([0.25])))
