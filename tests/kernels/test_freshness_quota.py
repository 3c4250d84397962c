"""Freshness, tone, quota and standardised scores: against the equations in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec import _native
from karec.times import HOUR_MS

SCORES = st.lists(st.floats(-100, 100, width=32), min_size=0, max_size=40)


@given(scores=SCORES, weight=st.floats(0, 3), half_life=st.floats(0.1, 1000), seed=st.integers(0, 99))
def test_freshness_halves_with_each_half_life(scores, weight, half_life, seed):
    now = 10_000 * HOUR_MS
    moments = now - np.random.default_rng(seed).integers(-5 * HOUR_MS, 9000 * HOUR_MS, len(scores))
    age = np.maximum(now - moments, 0) / HOUR_MS
    expected = np.array(scores, np.float64) + weight * 2.0 ** (-age / half_life)
    np.testing.assert_allclose(
        _native.freshness(np.array(scores, np.float32), moments, now, weight, half_life),
        expected,
        rtol=2e-7,
        atol=1e-12,
    )


@given(scores=SCORES, at_most=st.integers(1, 4), seed=st.integers(0, 99))
@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float32, np.bool_])
def test_quota_keeps_the_best_of_each_value(dtype, scores, at_most, seed):
    groups = np.random.default_rng(seed).integers(0, 4, len(scores)).astype(dtype)
    keep = _native.quota(np.array(scores, np.float32), groups, at_most)
    for value in np.unique(groups):
        members = np.flatnonzero(groups == value)
        best = sorted(members, key=lambda i: (-np.float32(scores[i]), i))[:at_most]
        assert sorted(best) == members[keep[members]].tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.uint8])
def test_tone_compares_in_the_dtype_of_the_column(dtype):
    values = np.arange(11).astype(dtype)
    column = values / dtype(10) if np.issubdtype(dtype, np.floating) else values
    floor = 0.7 if np.issubdtype(dtype, np.floating) else 6.5
    assert _native.tone(column, floor).tolist() == [i >= 7 for i in range(11)]
    if np.issubdtype(dtype, np.floating):
        assert _native.tone(np.array([np.nan], dtype), -1.0).tolist() == [False]


@given(scores=SCORES)
def test_standardised_scores_have_mean_0_and_deviation_1(scores):
    values = np.array(scores, np.float32)
    got = _native.standardise(values)
    assert got.dtype == np.float32 and got.shape == values.shape
    exact = values.astype(np.float64)
    if len(exact) and exact.std() > 1e-6:
        np.testing.assert_allclose(got, (exact - exact.mean()) / exact.std(), rtol=1e-5, atol=1e-6)
    elif len(set(scores)) == 1:
        assert not got.any()


def test_freshness_and_quota_reject_invalid_arguments():
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="expected integers"):
        _native.freshness(one, np.ones(1), 0, 1.0, 1.0)
    with pytest.raises(ValueError, match="at_most must be positive"):
        _native.quota(one, np.ones(1, np.int64), 0)
    with pytest.raises(ValueError, match="NaN"):
        _native.quota(np.array([np.nan], np.float32), np.ones(1, np.int64), 1)
    with pytest.raises(ValueError, match="infinity"):
        _native.standardise(np.array([np.inf], np.float32))
