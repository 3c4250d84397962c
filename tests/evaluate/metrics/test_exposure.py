"""Tests of resampled measures against plain loops over repeated units and known results."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.evaluate.metrics.accuracy import resampling_weights
from karec.evaluate.metrics.exposure import (
    Concentration,
    Resampled,
    Sums,
    confidence_interval,
    daily_counts,
    gini,
    resample,
    summarize,
)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_gini_is_half_the_relative_mean_difference(counts):
    x = np.array(counts, float)
    differences = np.abs(x[:, None] - x[None, :]).mean()
    expected = differences / (2 * x.mean()) if x.sum() else 0.0
    assert gini(x) == pytest.approx(expected)


@st.composite
def exposures(draw):
    """(weights (R, n), over (n,), per (n,), counts (K,), owner (K,)); some units own nothing, some counts are
    0."""
    n, k = draw(st.integers(1, 8)), draw(st.integers(0, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = resampling_weights(n, 5, seed=int(rng.integers(100)))
    return weights, rng.random(n), rng.integers(0, 3, n), rng.integers(0, 4, k), rng.integers(0, n, k)


@given(exposures())
def test_resample_equals_measures_of_repeated_units(case):
    weights, over, per, counts, owner = case
    result = resample(
        {"ratio": Sums(over, per), "sum": Sums(over), "gini": Concentration(counts, owner)}, weights
    )
    for sample, draws in enumerate(weights.astype(int)):
        units = np.repeat(np.arange(len(draws)), draws)
        things = np.repeat(np.arange(len(counts)), draws[owner])
        expected = over[units].sum() / per[units].sum() if per[units].sum() else np.nan
        assert result["ratio"].samples[sample] == pytest.approx(expected, nan_ok=True)
        assert result["sum"].samples[sample] == pytest.approx(over[units].sum())
        expected = gini(counts[things]) if counts[things].sum() else np.nan
        assert result["gini"].samples[sample] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(exposures())
def test_change_of_equal_cascades_is_exactly_0(case):
    weights, over, per, counts, owner = case
    measures = {"ratio": Sums(over, per), "sum": Sums(over), "gini": Concentration(counts, owner)}
    own, base = resample(measures, weights), resample(measures, weights)
    for name in measures:
        summary = summarize(own[name], base[name])
        if summary["value"] is not None:
            assert summary["change"] == 0.0
            assert summary["change_ci"] in ((0.0, 0.0), None), "None: no resample has a value"
            assert summary["relative"] is None or summary["relative_ci"] in ((0.0, 0.0), None)


def test_concentration_includes_counts_of_0():
    """One of four has all, so the Gini coefficient is 3/4; without the counts of 0 it would be 0."""
    weights = resampling_weights(4, 10, seed=0)
    counts = np.array([8, 0, 0, 0])
    result = resample(
        {"all": Concentration(counts, np.arange(4)), "shown": Concentration(counts[:1], np.arange(1))},
        weights,
    )
    assert result["all"].value == pytest.approx(0.75)
    assert result["shown"].value == 0.0


def test_sum_without_per_is_an_exact_count():
    """A mean over 49 units would give 6.999…."""
    result = resample({"reached": Sums(np.arange(49) % 7 == 0)}, resampling_weights(49, 3, seed=0))
    assert result["reached"].value == 7.0


def test_summary_finds_an_effect_with_a_narrow_paired_interval():
    """Each user gains 2 % plus a little noise; users differ by a factor of 20."""
    rng = np.random.default_rng(0)
    base = rng.uniform(1, 20, 500)
    own = base * 1.02 + rng.normal(0, 0.05, 500)
    weights = resampling_weights(500, 300, seed=0)
    one, other = (resample({"play": Sums(values, np.ones(500))}, weights)["play"] for values in (own, base))
    summary = summarize(one, other)
    low, high = summary["relative_ci"]
    assert low < 2.0 < high and high - low < 0.2
    low, high = summary["ci"]
    assert (high - low) / summary["value"] > 0.05


def test_intervals_cover_the_true_value_in_95_percent():
    """95 % of 200 studies, within four standard deviations of that fraction."""
    covered = 0
    for study in range(200):
        rng = np.random.default_rng(study)
        play, shown = rng.exponential(2.0, 80), np.ones(80)
        part = resample({"play": Sums(play, shown)}, resampling_weights(80, 200, seed=study))["play"]
        low, high = confidence_interval(part)
        covered += low <= 2.0 <= high
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 200) < covered / 200


def test_summary_is_none_if_there_is_nothing_to_measure():
    weights = resampling_weights(3, 4, seed=0)
    nothing = np.zeros(3)
    result = resample(
        {"share": Sums(nothing, nothing), "gini": Concentration(nothing, np.arange(3))}, weights
    )
    for part in result.values():
        assert set(summarize(part, part).values()) == {None}


def test_relative_change_from_0_is_none():
    summary = summarize(Resampled(2.0, np.full(3, 2.0)), Resampled(0.0, np.zeros(3)))
    assert (summary["change"], summary["change_ci"]) == (2.0, (2.0, 2.0))
    assert summary["relative"] is None and summary["relative_ci"] is None


def test_daily_counts_count_rows_per_day():
    counts = daily_counts(np.array([0, 0, 1, 1]), np.array([2, 2, 0, 2]), days=3, n=4)
    np.testing.assert_array_equal(counts, [[0, 0, 2, 0], [1, 0, 1, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (Sums(np.zeros(3)), r"likes: shape is \(3,\), expected \(2,\)"),
        (Sums(np.zeros(2), np.zeros(1)), r"likes: shape is \(1,\), expected \(2,\)"),
        (Concentration(np.zeros(3), np.zeros(2, int)), r"likes: counts \(3,\) and owners \(2,\)"),
        (Concentration(np.zeros(1), np.array([2])), "likes: owners 2 … 2 for 2 units"),
        (
            Concentration(np.array([-1]), np.array([0])),
            "likes: counts have the minimum -1, expected at least 0",
        ),
    ],
)
def test_resample_names_a_measure_with_other_units(measure, message):
    with pytest.raises(ValueError, match=message):
        resample({"likes": measure}, resampling_weights(2, 3, seed=0))
