"""Fairness penalties against a sum over all impressions, and their effect on a day of pages."""

import math

import numpy as np
import pytest
from exposure_setup import Items, play_pages
from hypothesis import given
from hypothesis import strategies as st

from karec.exposure import fairness as module
from karec.exposure.arrays import decode, encode
from karec.exposure.constraints import FairnessPenalty
from karec.exposure.fairness import MERGE_MS, MIN_COUNT, FairnessCounts
from karec.times import HOUR_MS

NOW = 100_000 * HOUR_MS


def penalties_of(counts, values, now):
    result = np.zeros(len(values))
    for part in counts.penalties(now):
        part.add_to(result, np.asarray(values))
    return result


@given(st.data())
def test_penalty_follows_from_decayed_impressions(data):
    """The oracle sums every impression. A value below MIN_COUNT may be removed, a penalty a minute old."""
    weight, half, window = data.draw(st.sampled_from([(0.5, 1.0, 24.0), (1.0, 20.0, 2.0), (2.0, 0.5, 0.01)]))
    counts, now, shown = FairnessCounts(FairnessPenalty(weight, exposures=half), window), NOW, []
    steps = st.tuples(
        st.sampled_from([0, 7, 20_000, MERGE_MS, 5 * HOUR_MS]), st.lists(st.integers(-1, 6), max_size=5)
    )
    for later, values in data.draw(st.lists(steps, min_size=1, max_size=20)):
        now += later
        counts.add_page(np.array(values, np.int64), now)
        shown += [(value, now) for value in values]
    n = np.array(
        [
            sum(math.exp(-(now - at) / (window * HOUR_MS)) for v, at in shown if v == value)
            for value in range(7)
        ]
    )
    expected = weight * n / (n + half)
    minute = weight * (1 - math.exp(-MERGE_MS / (window * HOUR_MS))) if window > 1 else weight
    slack = weight / half * MIN_COUNT + minute
    result = penalties_of(counts, np.arange(7), now)
    np.testing.assert_allclose(result, expected, atol=slack)
    # computed for now, not for the last minute
    recent = [value for value in counts.recent if value not in counts.keys]
    np.testing.assert_allclose(result[recent], expected[recent], atol=weight / half * MIN_COUNT + 1e-12)
    counts._merge(now)
    np.testing.assert_allclose(
        penalties_of(counts, np.arange(7), now), expected, atol=weight / half * MIN_COUNT + 1e-12
    )
    assert penalties_of(counts, [-1, 99], now).tolist() == [0, 0], (
        "negative values and those never shown have no penalty"
    )


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=12), st.integers(0, 12))
def test_saving_between_pages_changes_no_bit(pages, cut):
    whole = FairnessCounts(FairnessPenalty(1.0), 24.0)
    part = FairnessCounts(FairnessPenalty(1.0), 24.0)
    for i, values in enumerate(pages):
        at = NOW + i * MERGE_MS // 3
        whole.add_page(np.array(values, np.int64), at)
        part.add_page(np.array(values, np.int64), at)
        if i == cut:
            part = decode(encode(part), FairnessCounts)
    assert encode(part) == encode(whole)
    end = NOW + len(pages) * MERGE_MS
    assert penalties_of(part, range(10), end).tobytes() == penalties_of(whole, range(10), end).tobytes()


def test_penalty_is_half_of_the_weight_at_the_given_exposures():
    counts = FairnessCounts(FairnessPenalty(3.0, exposures=20.0), 24.0)
    counts.add_page(np.ones(20, np.int64), NOW)
    assert penalties_of(counts, [1], NOW)[0] == 1.5


def test_penalty_of_a_value_shown_again_is_computed_for_now():
    counts = FairnessCounts(FairnessPenalty(1.0), 1.0)
    counts.add_page(np.array([1, 1, 2]), NOW)
    counts._merge(NOW)
    later = NOW + MERGE_MS - 1
    counts.add_page(np.array([1]), later)
    n = 2 * math.exp(-(MERGE_MS - 1) / HOUR_MS) + 1
    np.testing.assert_allclose(penalties_of(counts, [1], later), n / (n + 1), rtol=1e-12)
    assert (
        counts.summary(later)["max_exposures"] == pytest.approx(n, rel=1e-12)
        and counts.summary(later)["values"] == 2
    )


def test_fairness_counts_keep_the_values_with_most_impressions(monkeypatch):
    monkeypatch.setattr(module, "MAX_VALUES", 3)
    monkeypatch.setattr(module, "MAX_RECENT", 6)
    counts = FairnessCounts(FairnessPenalty(1.0), 24.0)
    for value, times in ((0, 1), (1, 4), (2, 2), (3, 3), (4, 1), (5, 1), (6, 1)):
        counts.add_page(np.full(times, value), NOW)
    assert counts.keys.tolist() == [1, 2, 3] and counts.summary(NOW)["values"] == 4
    assert (penalties_of(counts, range(7), NOW) > 0).tolist() == [False, True, True, True, False, False, True]


def test_fairness_counts_are_empty_after_many_windows_of_any_length():
    for window in (1e-9, 0.001, 24.0):
        counts = FairnessCounts(FairnessPenalty(1.0), window)
        counts.add_page(np.arange(5), NOW)
        counts.add_page(np.arange(5), NOW + 1)  # of the shortest window, hundreds of windows later
        later = NOW + int(50 * max(window, 1e-3) * HOUR_MS)
        counts.add_page(np.array([7]), later)
        assert counts.keys.tolist() == [], window
        assert penalties_of(counts, [0, 7], later)[1] == pytest.approx(0.5)


def test_fairness_reaches_more_creators_and_keeps_the_best_first():
    """One creator has far better items than all others."""
    items = Items(n_new=200)
    index = items.index()

    def reached(*fairness):
        day = play_pages(items, index, 1_500, fairness=fairness)
        return (day.exposures() > 0).sum(), day.exposures_of_creators(), day.controller.snapshot()["fairness"]

    n_items, of_creators, summary = reached(FairnessPenalty(1e-9))
    more_items, of_creators_by_item, _ = reached(FairnessPenalty(1.0))
    assert more_items > 1.15 * n_items
    _, even, (of_penalty,) = reached(FairnessPenalty(1.0, "creator_id", exposures=50))
    n_least = items.n_creators // 5
    assert np.sort(even)[:n_least].mean() > 1.2 * np.sort(of_creators)[:n_least].mean()
    assert even.argmax() == 0 and of_creators_by_item.argmax() == 0
    assert of_penalty["name"] == "column creator_id" and of_penalty["values"] == (even > 0).sum()
    assert summary[0]["name"] == "works"
    assert 0.7 * even[0] < of_penalty["max_exposures"] <= even[0], "seven hours decay"
