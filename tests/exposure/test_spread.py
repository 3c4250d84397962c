"""Spread: what was shown lately costs more, by the welfare that the scene names."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from steered_days import Library, live

from karec.exposure import spread as module
from karec.exposure.constraints import Spread
from karec.exposure.controller import Steering
from karec.exposure.spread import FOLD_MS, FORGOTTEN, SpreadCounts
from karec.times import HOUR_MS

NOW = 100_000 * HOUR_MS


def costs_of(counts, values, now):
    found = np.zeros(len(values))
    for part in counts.costs(now):
        part.add_to(found, np.asarray(values))
    return found


@given(st.data())
def test_a_value_costs_what_its_fading_exposures_say_whenever_they_came(data):
    """The oracle adds every exposure by itself. A value below FORGOTTEN may be let go of, a cost be a minute
    old."""
    weight, half, window = data.draw(st.sampled_from([(0.5, 1.0, 24.0), (1.0, 20.0, 2.0), (2.0, 0.5, 0.01)]))
    counts, now, shown = SpreadCounts(Spread(weight, exposures=half), window), NOW, []
    steps = st.tuples(
        st.sampled_from([0, 7, 20_000, FOLD_MS, 5 * HOUR_MS]), st.lists(st.integers(-1, 6), max_size=5)
    )
    for later, values in data.draw(st.lists(steps, min_size=1, max_size=20)):
        now += later
        counts.show(np.array(values, np.int64), now)
        shown += [(value, now) for value in values]
    n = np.array(
        [
            sum(math.exp(-(now - at) / (window * HOUR_MS)) for v, at in shown if v == value)
            for value in range(7)
        ]
    )
    expected = weight * n / (n + half)
    minute = weight * (1 - math.exp(-FOLD_MS / (window * HOUR_MS))) if window > 1 else weight
    slack = weight / half * FORGOTTEN + minute
    found = costs_of(counts, np.arange(7), now)
    np.testing.assert_allclose(found, expected, atol=slack)
    # priced as of now, not of the minute
    lately = [value for value in counts.lately if value not in counts.keys]
    np.testing.assert_allclose(found[lately], expected[lately], atol=weight / half * FORGOTTEN + 1e-12)
    counts._fold(now)
    np.testing.assert_allclose(
        costs_of(counts, np.arange(7), now), expected, atol=weight / half * FORGOTTEN + 1e-12
    )
    assert costs_of(counts, [-1, 99], now).tolist() == [0, 0], (
        "negative values and those never shown cost nothing"
    )


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=12), st.integers(0, 12))
def test_saving_between_any_feeds_changes_no_bit(feeds, cut):
    whole = SpreadCounts(Spread(1.0), 24.0)
    part = SpreadCounts(Spread(1.0), 24.0)
    for i, values in enumerate(feeds):
        at = NOW + i * FOLD_MS // 3
        whole.show(np.array(values, np.int64), at)
        part.show(np.array(values, np.int64), at)
        if i == cut:
            part = SpreadCounts.restored(Spread(1.0), 24.0, json.loads(json.dumps(part.as_dict())), at)
    assert part.as_dict() == whole.as_dict()
    end = NOW + len(feeds) * FOLD_MS
    assert costs_of(part, range(10), end).tobytes() == costs_of(whole, range(10), end).tobytes()


def test_a_value_that_was_shown_as_often_as_exposures_say_costs_half_of_the_weight():
    counts = SpreadCounts(Spread(3.0, exposures=20.0), 24.0)
    counts.show(np.ones(20, np.int64), NOW)
    assert costs_of(counts, [1], NOW)[0] == 1.5


def test_what_was_folded_and_shown_again_is_priced_as_of_now():
    counts = SpreadCounts(Spread(1.0), 1.0)
    counts.show(np.array([1, 1, 2]), NOW)
    counts._fold(NOW)
    later = NOW + FOLD_MS - 1
    counts.show(np.array([1]), later)
    n = 2 * math.exp(-(FOLD_MS - 1) / HOUR_MS) + 1
    np.testing.assert_allclose(costs_of(counts, [1], later), n / (n + 1), rtol=1e-12)
    assert counts.told(later)["most"] == pytest.approx(n, rel=1e-12) and counts.told(later)["values"] == 2


def test_those_shown_most_are_remembered_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(module, "MOST_VALUES", 3)
    monkeypatch.setattr(module, "MOST_LATELY", 6)
    counts = SpreadCounts(Spread(1.0), 24.0)
    for value, times in ((0, 1), (1, 4), (2, 2), (3, 3), (4, 1), (5, 1), (6, 1)):
        counts.show(np.full(times, value), NOW)
    assert counts.keys.tolist() == [1, 2, 3] and counts.told(NOW)["values"] == 4
    assert (costs_of(counts, range(7), NOW) > 0).tolist() == [False, True, True, True, False, False, True]


def test_a_window_that_is_over_forgets_whatever_its_length():
    for window in (1e-9, 0.001, 24.0):
        counts = SpreadCounts(Spread(1.0), window)
        counts.show(np.arange(5), NOW)
        counts.show(np.arange(5), NOW + 1)  # of the shortest window, hundreds of windows later
        later = NOW + int(50 * max(window, 1e-3) * HOUR_MS)
        counts.show(np.array([7]), later)
        assert counts.keys.tolist() == [], window
        assert costs_of(counts, [0, 7], later)[1] == pytest.approx(0.5)


def test_a_day_reaches_more_works_and_creators_and_the_best_creator_is_still_shown_most():
    """Without models: a library in which one creator has far better works than all others."""
    library = Library(n_new=200)
    index, creators = library.index(), library.columns["creator_id"]

    def reached(*spread):
        day = live(library, index, Steering(index, spread=spread), feeds=1_500)
        shown = np.bincount(creators[np.concatenate(day.feeds)], minlength=library.n_creators)
        return (day.exposures() > 0).sum(), shown, day.steering.snapshot()["spread"]

    works, of_creators, told = reached(Spread(1e-9))
    more_works, more_even, _ = reached(Spread(1.0))
    assert more_works > 1.15 * works
    _, of_even_creators, (of,) = reached(Spread(1.0, "creator_id", exposures=50))
    least = library.n_creators // 5
    assert np.sort(of_even_creators)[:least].mean() > 1.2 * np.sort(of_creators)[:least].mean()
    assert of_even_creators.argmax() == 0 and more_even.argmax() == 0
    assert of["of"] == "column creator_id" and of["values"] == (of_even_creators > 0).sum()
    assert told[0]["of"] == "works" and 0.7 * of_even_creators[0] < of["most"] <= of_even_creators[0], (
        "seven hours fade"
    )
