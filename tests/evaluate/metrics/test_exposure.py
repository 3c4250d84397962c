"""What lists gave to units, under resampling: against plain loops over repeated units, and against known
answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.evaluate.metrics.accuracy import resampling_weights
from karec.evaluate.metrics.diversity import gini
from karec.evaluate.metrics.exposure import (
    Resampled,
    Spread,
    Sums,
    daily_counts,
    interval_of,
    measured,
    price,
    resampled,
)


@st.composite
def exposures(draw):
    """(weights (R, n), over (n,), per (n,), counts (K,), owner (K,)): some units own nothing, some counts are
    0."""
    n, k = draw(st.integers(1, 8)), draw(st.integers(0, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = resampling_weights(n, 5, seed=int(rng.integers(100)))
    return weights, rng.random(n), rng.integers(0, 3, n), rng.integers(0, 4, k), rng.integers(0, n, k)


@given(exposures())
def test_a_resample_is_the_measure_of_units_repeated_as_often_as_they_were_drawn(case):
    weights, over, per, counts, owner = case
    found = resampled({"ratio": Sums(over, per), "sum": Sums(over), "gini": Spread(counts, owner)}, weights)
    for at, drawn in enumerate(weights.astype(int)):
        units = np.repeat(np.arange(len(drawn)), drawn)
        things = np.repeat(np.arange(len(counts)), drawn[owner])
        expected = over[units].sum() / per[units].sum() if per[units].sum() else np.nan
        assert found["ratio"].samples[at] == pytest.approx(expected, nan_ok=True)
        assert found["sum"].samples[at] == pytest.approx(over[units].sum())
        expected = gini(counts[things]) if counts[things].sum() else np.nan
        assert found["gini"].samples[at] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(exposures())
def test_what_did_the_same_differs_by_exactly_nothing(case):
    weights, over, per, counts, owner = case
    measures = {"ratio": Sums(over, per), "sum": Sums(over), "gini": Spread(counts, owner)}
    own, base = resampled(measures, weights), resampled(measures, weights)
    for name in measures:
        told = measured(own[name], base[name])
        if told["value"] is not None:
            assert told["change"] == 0.0
            assert told["change_ci"] in ((0.0, 0.0), None), "None: no resample has a value"
            assert told["relative"] is None or told["relative_ci"] in ((0.0, 0.0), None)


def test_who_was_never_shown_counts_in_gini():
    """One of four takes all: 3/4. Among those who were shown alone it would be 0."""
    weights = resampling_weights(4, 10, seed=0)
    counts = np.array([8, 0, 0, 0])
    found = resampled(
        {"all": Spread(counts, np.arange(4)), "shown": Spread(counts[:1], np.arange(1))}, weights
    )
    assert found["all"].value == pytest.approx(0.75)
    assert found["shown"].value == 0.0


def test_a_count_of_units_is_a_whole_number():
    """Not 6.999…, though a mean over 49 units is in between."""
    found = resampled({"reached": Sums(np.arange(49) % 7 == 0)}, resampling_weights(49, 3, seed=0))
    assert found["reached"].value == 7.0


def test_a_planted_effect_lies_in_its_interval_and_pairing_makes_it_narrow():
    """Every user gains 2 % and a little noise; users themselves differ by a factor of 20."""
    rng = np.random.default_rng(0)
    base = rng.uniform(1, 20, 500)
    own = base * 1.02 + rng.normal(0, 0.05, 500)
    weights = resampling_weights(500, 300, seed=0)
    one, other = (resampled({"play": Sums(values, np.ones(500))}, weights)["play"] for values in (own, base))
    told = measured(one, other)
    low, high = told["relative_ci"]
    assert low < 2.0 < high and high - low < 0.2
    low, high = told["ci"]
    assert (high - low) / told["value"] > 0.05


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """95 % of 200 studies, give or take four standard deviations of that share."""
    covered = 0
    for study in range(200):
        rng = np.random.default_rng(study)
        play, shown = rng.exponential(2.0, 80), np.ones(80)
        part = resampled({"play": Sums(play, shown)}, resampling_weights(80, 200, seed=study))["play"]
        low, high = interval_of(part)
        covered += low <= 2.0 <= high
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 200) < covered / 200


def test_a_price_is_what_is_lost_for_each_that_is_won():
    less = Resampled(-60.0, np.array([-50.0, -60.0, -70.0]))
    more = Resampled(20.0, np.array([20.0, 20.0, 20.0]))
    told = price(less, more)
    assert told["value"] == 3.0
    assert told["ci"] == pytest.approx((2.525, 3.475))


@pytest.mark.parametrize("worst", [-1.0, 0.0])
def test_what_may_have_won_nothing_has_no_price(worst):
    """One resample in ten won nothing, or lost."""
    more = Resampled(20.0, np.repeat([worst, 20.0], [10, 90]))
    assert price(Resampled(-60.0, np.full(100, -60.0)), more) == {"value": None, "ci": None}


def test_nothing_shown_is_no_value_and_no_zero():
    weights = resampling_weights(3, 4, seed=0)
    nothing = np.zeros(3)
    found = resampled({"share": Sums(nothing, nothing), "gini": Spread(nothing, np.arange(3))}, weights)
    for part in found.values():
        assert set(measured(part, part).values()) == {None}


def test_a_change_from_zero_has_no_percentage():
    told = measured(Resampled(2.0, np.full(3, 2.0)), Resampled(0.0, np.zeros(3)))
    assert (told["change"], told["change_ci"]) == (2.0, (2.0, 2.0))
    assert told["relative"] is None and told["relative_ci"] is None


def test_rows_are_counted_day_by_day():
    counts = daily_counts(np.array([0, 0, 1, 1]), np.array([2, 2, 0, 2]), days=3, n=4)
    np.testing.assert_array_equal(counts, [[0, 0, 2, 0], [1, 0, 1, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (Sums(np.zeros(3)), r"likes: shape \(3,\), expected \(2,\)"),
        (Sums(np.zeros(2), np.zeros(1)), r"likes: shape \(1,\), expected \(2,\)"),
        (Spread(np.zeros(3), np.zeros(2, int)), r"likes: counts \(3,\) and owners \(2,\)"),
        (Spread(np.zeros(1), np.array([2])), "likes: owners 2 … 2 for 2 units"),
        (Spread(np.array([-1]), np.array([0])), "likes: counts must be ≥ 0, the least is -1"),
    ],
)
def test_arrays_of_other_units_are_refused_by_measure(measure, said):
    with pytest.raises(ValueError, match=said):
        resampled({"likes": measure}, resampling_weights(2, 3, seed=0))


def test_without_resamples_there_are_no_weights():
    with pytest.raises(ValueError, match="resamples must be positive, got 0"):
        resampling_weights(3, 0, seed=0)
