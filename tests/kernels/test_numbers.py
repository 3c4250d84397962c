"""Numbers of model inputs: C++ and the portable twin against the C library's logarithms, and each other's
bits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec import _native
from karec._clock import HOUR_MS
from karec.kernels import portable

BACKENDS = pytest.mark.parametrize("backend", [_native, portable], ids=["native", "portable"])
ODD = [0.0, -0.0, -1.0, -2.0, 5e-324, 1e-300, 1e-17, 1e300, math.inf, -math.inf, math.nan]
reals = st.lists(st.floats() | st.integers(0, 1000).map(float) | st.sampled_from(ODD), max_size=30)
counts = st.lists(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), max_size=8)


def bits(array):
    """As integers, with one NaN."""
    return np.where(np.isnan(array), np.nan, array).view(f"i{array.itemsize}").tolist()


@given(reals)
def test_both_backends_give_the_same_bits(values):
    x = np.array(values, np.float64)
    assert bits(_native.log1p(x)) == bits(portable.log1p(x))
    for log in (False, True):
        assert bits(_native.scaled(x, log, 0.7, 1.3)) == bits(portable.scaled(x, log, 0.7, 1.3))


@given(counts, st.lists(st.floats(1e-6, 1 - 1e-6), min_size=2, max_size=2), st.booleans())
def test_both_backends_give_the_same_bits_of_counters(rows, priors, by_row):
    given, rates = np.array(rows, np.float32).reshape(-1, 3), np.array(priors)
    rates = np.tile(rates, (len(given), 1)) if by_row else rates
    assert bits(_native.counter_numbers(given, rates)) == bits(portable.counter_numbers(given, rates))


@BACKENDS
@given(st.lists(st.floats(0, 1e300), max_size=20))
def test_logarithms_are_those_of_the_c_library_but_for_the_last_bits(backend, values):
    np.testing.assert_allclose(backend.log1p(np.array(values)), [math.log1p(x) for x in values], rtol=5e-16)


@BACKENDS
@given(counts)
def test_a_rate_is_the_log_odds_of_its_smoothed_rate_against_the_prior(backend, rows):
    given, priors = np.array(rows, np.float32).reshape(-1, 3), np.array([0.02, 0.5])
    found = backend.counter_numbers(given, priors)
    for row, (exposed, *positives) in zip(found, given.astype(float).tolist(), strict=True):
        expected = [math.log1p(exposed) / 4]
        for c, p in zip(positives, priors, strict=True):
            odds = (c + 10 * p) / (max(exposed - c, 0) + 10 * (1 - p))
            expected.append(math.log(odds) - math.log(p / (1 - p)))
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-6)


@BACKENDS
def test_ages_count_from_known_moments_and_never_backwards(backend):
    found = backend.log_hours(np.array([0, -5, 10, 10, 10]), np.array([50, 50, 10, 3, 10 + 3 * HOUR_MS]))
    np.testing.assert_allclose(found, [np.nan, np.nan, 0, 0, math.log(4)], rtol=1e-15)


@BACKENDS
def test_what_is_not_known_is_the_mean_and_the_rest_is_cut(backend):
    values = np.array([2.5, np.nan, np.inf, -np.inf])
    assert backend.scaled(values, False, 2.0, 0.5).tolist() == [1.0, 0.0, 8.0, -8.0]


@BACKENDS
def test_counters_of_no_columns_give_none_and_other_shapes_are_refused(backend):
    assert backend.counter_numbers(np.zeros((3, 0), np.float32), np.empty(0)).shape == (3, 0)
    with pytest.raises(ValueError, match="priors"):
        backend.counter_numbers(np.zeros((3, 3), np.float32), np.full(3, 0.5))
    with pytest.raises(ValueError, match="time_ms"):
        backend.log_hours(np.zeros(3, np.int64), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="scale must be positive"):
        backend.scaled(np.zeros(3), False, 0.0, 0.0)
    for scale in (math.inf, math.nan, -1.0):
        with pytest.raises(ValueError, match="scale must be positive and finite, got"):
            backend.scaled(np.zeros(3), False, 0.0, scale)
    for mean in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="mean must be finite, got"):
            backend.scaled(np.zeros(3), False, mean, 1.0)


@pytest.mark.parametrize(
    "priors", [[0.1, 0.2], [[0.1], [0.2, 0.3]], "many", 0.5, None, np.full((1, 1, 1), 0.5)]
)
def test_both_backends_refuse_priors_in_the_same_words(priors):
    said = []
    for backend in (_native, portable):
        with pytest.raises(ValueError, match=r"priors|array element") as error:
            backend.counter_numbers([[2.0, 1.0]], priors)
        said.append(str(error.value))
    assert said[0] == said[1]


@BACKENDS
def test_counters_and_priors_may_be_lists(backend):
    found = backend.counter_numbers([[2.0, 1.0]], [0.25])
    np.testing.assert_array_equal(found, backend.counter_numbers(np.array([[2.0, 1.0]]), np.array([0.25])))
