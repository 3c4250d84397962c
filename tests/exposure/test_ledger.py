"""What feeds showed: counts, the window, floors, and the ledger's file."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.exposure.constraints import Cap, Floor, Spread
from karec.exposure.control import Law
from karec.exposure.counters import ExposureCounters, Feed
from karec.exposure.dual_variables import Group
from karec.exposure.guarantees import FloorCounts
from karec.times import HOUR_MS

NOW = 100_000 * HOUR_MS
GROUPS = (
    Group("type 1", 0.3, 0.02, "type", 1),
    Group("younger than 72 h", 0.4, 0.02, "upload_ms", age_hours=72),
)
FLOORS = (Floor(3, 50, new_work_hours=24), Floor(4, 50, new_creator_days=2))
SPREAD = (Spread(0.5, "creator_id"), Spread(1.0, exposures=2.0))
NOTHING = np.zeros(0, np.int64)


def ledger(bound=3.0, rate=0.05):
    return ExposureCounters(
        GROUPS, (Cap("creator_id", 0.2), Cap("tag", 0.5)), FLOORS, SPREAD, Law(rate, bound), 24.0
    )


def feed(rng, at):
    n = int(rng.integers(0, 8))
    members = rng.integers(0, n + 1, 2).astype(np.float64)
    creators, works = rng.integers(-1, 4, n), rng.integers(0, 9, n)
    return Feed(
        at, n, members, (creators, rng.integers(0, 3, n)), works, rng.integers(0, 5, n), (creators, works)
    )


def feeds(seed, n=60):
    rng = np.random.default_rng(seed)
    return [feed(rng, NOW + i * HOUR_MS // 4) for i in range(n)]


def watched(one):
    one.floors[0].watch(np.arange(9), np.full(9, NOW), np.zeros(9), NOW)
    one.floors[1].watch(np.arange(5), np.full(5, NOW), np.zeros(5), NOW)
    return one


def test_a_cap_that_cannot_hold_is_told_with_its_values():
    """A column of one value: every place is of it, whatever its price."""
    one = ledger(rate=1.0)
    assert one.unmet() == []
    for at in range(20):
        tags = np.full(10, 2)
        one.show(
            Feed(
                NOW + at,
                10,
                np.array([3.0, 4.0]),
                (np.arange(10), tags),
                np.arange(10),
                np.arange(10),
                (NOTHING,) * 2,
            )
        )
    assert [line for line in one.unmet() if "cap" in line] == ["tag 2: above the cap of 0.5, price +3"]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.lists(st.booleans(), min_size=60, max_size=60))
def test_saving_and_restoring_between_any_feeds_changes_nothing(seed, saved):
    whole, cut = watched(ledger()), watched(ledger())
    for each, save in zip(feeds(seed), saved, strict=True):
        whole.show(each)
        cut.show(each)
        if save:
            after = ledger()
            after.restore(json.loads(json.dumps(cut.as_dict())))
            cut = after
    assert cut.as_dict() == whole.as_dict()
    assert cut.unmet() == whole.unmet()


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_caps_are_priced_as_if_every_value_were_moved_at_every_feed(seed):
    """They are moved when they are shown, and when they are read."""
    one, law = ledger(), Law(0.05, 3.0)
    prices = dict.fromkeys(range(4), 0.0)
    for each in feeds(seed):
        one.show(each)
        for value in prices:
            if each.n:
                prices[value] = law.capped(prices[value], 0.2, 0, 0)
                prices[value] = law.capped(prices[value], 0.2, int((each.caps[0] == value).sum()), each.n)
    values, found = one.cap_prices(0)
    told = dict(zip(values.tolist(), found.tolist(), strict=True))
    assert told.keys() <= prices.keys(), "a missing value has no cap"
    np.testing.assert_allclose([told.get(value, 0.0) for value in prices], list(prices.values()), atol=1e-9)


def test_shares_are_of_a_window_that_forgets():
    one = ledger()
    one.show(
        Feed(NOW, 10, np.array([10.0, 0.0]), (NOTHING,) * 2, np.arange(10), np.arange(10), (NOTHING,) * 2)
    )
    one.show(
        Feed(
            NOW + 24 * HOUR_MS,
            10,
            np.array([0.0, 5.0]),
            (NOTHING,) * 2,
            np.arange(10),
            np.arange(10),
            (NOTHING,) * 2,
        )
    )
    old = 10 * math.exp(-1)
    np.testing.assert_allclose(one.measured(), [old / (old + 10), 5 / (old + 10)], rtol=1e-12)


def test_an_empty_feed_moves_no_price_and_an_older_one_forgets_nothing():
    one = ledger()
    empty = Feed(NOW, 0, np.zeros(2), (NOTHING,) * 2, NOTHING, NOTHING, (NOTHING,) * 2)
    one.show(empty)
    assert one.feeds == 0 and one.prices.tolist() == [0, 0]
    for at in (NOW + HOUR_MS, NOW):
        one.show(
            Feed(at, 10, np.array([1.0, 1.0]), (NOTHING,) * 2, np.arange(10), np.arange(10), (NOTHING,) * 2)
        )
    assert one.places == 20 and one.time_ms == NOW + HOUR_MS


def test_constraints_of_the_same_name_go_on_and_others_begin():
    one = watched(ledger())
    for each in feeds(1):
        one.show(each)
    saved = one.as_dict()
    other = ExposureCounters(
        (GROUPS[1], Group("tag 2", 0.1, 0.02, "tag", 2)), (), (), (), Law(0.05, 0.01), 24.0
    )
    other.restore(saved)
    assert other.feeds == one.feeds
    assert other.prices[0] == np.clip(one.prices[1], -0.01, 0.01) and other.prices[1] == 0


def spoiled(change):
    one = watched(ledger())
    one.show(feeds(2)[0])
    saved = json.loads(json.dumps(one.as_dict()))
    change(saved)
    return saved


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved.pop("places"),
        lambda saved: saved.update(format=2),
        lambda saved: saved.update(places="many"),
        lambda saved: saved["groups"].update({"type 1": [0, 0]}),
        lambda saved: saved["groups"].update({"type 1": [float("nan"), 0, 0, 0]}),
        lambda saved: saved["caps"].update(creator_id={"x": [0, 0]}),
        lambda saved: saved["caps"].update(creator_id=[1]),
        lambda saved: saved["floors"]["works of 24 h"].update(keys=[3, 2]),
        lambda saved: saved["floors"]["works of 24 h"].update(counts=[1]),
        lambda saved: saved["floors"]["works of 24 h"].update(keys=[[1]]),
        lambda saved: saved["floors"]["works of 24 h"].pop("births"),
        lambda saved: saved.update(floors=7),
        lambda saved: saved["spread"]["works"].update(keys=[3, 2], counts=[1.0, 1.0]),
        lambda saved: saved["spread"]["works"].update(counts=[1.0]),
        lambda saved: saved["spread"]["works"].update(keys=[[1]], counts=[[1.0]]),
        lambda saved: saved["spread"]["works"].update(lately=[[1, float("nan")]]),
        lambda saved: saved["spread"]["works"].update(lately=[[1, -1.0]]),
        lambda saved: saved["spread"]["works"].update(lately=[1]),
        lambda saved: saved["spread"]["works"].update(lately=[[10**30, 1.0]]),
        lambda saved: saved["spread"]["works"].update(lately=[[1, 1.0], [1, 2.0]]),
        lambda saved: saved["spread"]["works"].update(lately={"12": 1}),
        lambda saved: saved["spread"]["works"].update(lately=[[-1, 1.0]]),
        lambda saved: saved["spread"]["works"].update(keys=[-1, 2], counts=[1.0, 1.0]),
        lambda saved: saved["spread"]["works"].update(keys=[1.5], counts=[1.0]),
        lambda saved: saved["spread"]["works"].update(keys=["1"], counts=[1.0]),
        lambda saved: saved["spread"]["works"].update(keys=[1], counts=[1.7e308]),
        lambda saved: saved["spread"]["works"].update(at_ms=-1),
        lambda saved: saved.update(time_ms=10**400),
        lambda saved: saved["spread"]["works"].update(at_ms=NOW + 10**9),
        lambda saved: saved["spread"]["works"].pop("counts"),
        lambda saved: saved.update(spread=[]),
    ],
)
def test_a_damaged_ledger_is_refused_and_changes_nothing(change):
    one = watched(ledger())
    before = one.as_dict()
    with pytest.raises(ValueError, match=r"^it is no ledger of a scene's exposure"):
        one.restore(spoiled(change))
    assert one.as_dict() == before


def test_a_unit_is_due_its_floor_within_half_of_the_time_that_it_is_new():
    counts = FloorCounts(Floor(20, 100, new_work_hours=24))
    counts.watch(np.array([5, 3]), np.array([NOW, NOW - 6 * HOUR_MS]), np.array([0, 4]), NOW)
    assert counts.keys.tolist() == [3, 5] and counts.counts.tolist() == [4, 0]
    np.testing.assert_allclose(counts.lags(NOW), [6 / 20, 0])
    np.testing.assert_allclose(counts.lags(NOW + 6 * HOUR_MS), [16 / 20, 10 / 20])
    np.testing.assert_allclose(counts.lags(NOW + 18 * HOUR_MS), [16 / 20, 1])


def test_a_unit_keeps_its_count_while_it_is_new_and_is_told_as_reached_or_missed_after():
    counts = FloorCounts(Floor(2, 100, new_work_hours=24))
    counts.watch(np.array([1, 2]), np.array([NOW, NOW]), np.zeros(2), NOW)
    counts.show(np.array([2, 2, 7]), NOW + 12 * HOUR_MS, 1.0)
    counts.watch(np.array([2, 4]), np.array([NOW, NOW + HOUR_MS]), np.array([0, 1]), NOW + HOUR_MS)
    assert counts.keys.tolist() == [1, 2, 4] and counts.counts.tolist() == [0, 2, 1]
    counts.watch(np.array([4]), np.array([NOW + HOUR_MS]), np.zeros(1), NOW + 24 * HOUR_MS)
    assert (counts.reached, counts.missed, counts.keys.tolist()) == (1, 1, [4])


def test_a_budget_pays_for_those_who_are_behind_alone():
    counts = FloorCounts(Floor(2, 3, new_work_hours=24))
    counts.watch(np.array([1, 2]), np.array([NOW, NOW]), np.array([0, 2]), NOW)
    counts.show(np.array([1, 2]), NOW + 12 * HOUR_MS, 1.0)
    assert counts.spent == 1 and counts.has_budget
    counts.show(np.array([1]), NOW + 12 * HOUR_MS, 1.0)
    counts.show(np.array([1]), NOW + 12 * HOUR_MS, 1.0)
    assert counts.spent == 2, "the third was not owed any more"
    counts.show(np.array([], np.int64), NOW + 36 * HOUR_MS, math.exp(-1))
    assert counts.spent == pytest.approx(2 * math.exp(-1))
