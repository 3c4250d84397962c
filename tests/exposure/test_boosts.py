"""Who is new, and what those behind their floor are lifted by: plain loops beside it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from karec.exposure.boosts import MOST_BEHIND, Behind, Boosts
from karec.exposure.constraints import Floor
from karec.exposure.guarantees import WORKS_OF_A_CREATOR, FloorCounts, Library, newest_of_each
from karec.exposure.rates import Rates
from karec.index import ItemIndex
from karec.times import HOUR_MS

NOW = 100_000 * HOUR_MS
BOUND = 2.0
works = st.lists(st.tuples(st.integers(-1, 5), st.integers(-5, 60)), max_size=30)  # creator, age in hours


def library(drawn):
    creators, ages = (np.array([each[i] for each in drawn], np.int64) for i in (0, 1))
    return Library(np.arange(len(drawn)) + 100, NOW - ages * HOUR_MS, creators)


@given(works, st.sampled_from([1, 24, 48]))
def test_new_works_are_those_published_within_the_hours_and_not_later_than_now(drawn, hours):
    ids, births = library(drawn).new_works(hours, NOW)
    new = [(100 + i, NOW - age * HOUR_MS) for i, (_, age) in enumerate(drawn) if 0 <= age < hours]
    assert list(zip(ids.tolist(), births.tolist(), strict=True)) == new


@given(works, st.sampled_from([1, 24, 48]))
def test_new_creators_have_no_work_that_is_older(drawn, hours):
    keys, births, ids, creators, moments = library(drawn).new_creators(hours, NOW)
    ages = {}
    for creator, age in drawn:
        if creator >= 0 and age >= 0:
            ages.setdefault(creator, []).append(age)
    new = {creator: max(each) for creator, each in ages.items() if max(each) < hours}
    assert dict(zip(keys.tolist(), births.tolist(), strict=True)) == {
        c: NOW - a * HOUR_MS for c, a in new.items()
    }
    theirs = [(100 + i, c, NOW - a * HOUR_MS) for i, (c, a) in enumerate(drawn) if c in new and a >= 0]
    assert list(zip(ids.tolist(), creators.tolist(), moments.tolist(), strict=True)) == theirs


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=40))
def test_the_newest_works_of_each_creator_are_kept(drawn):
    creators, moments = (np.array([each[i] for each in drawn], np.int64) for i in (0, 1))
    ids, of = newest_of_each(np.arange(len(drawn)), creators, moments)
    for creator in range(4):
        mine = moments[creators == creator]
        kept = moments[ids[of == creator]]
        assert sorted(kept, reverse=True) == sorted(mine, reverse=True)[:WORKS_OF_A_CREATOR]
    assert (creators[ids] == of).all()


def test_works_that_left_the_index_are_not_new_any_more():
    columns = {"upload_ms": np.full(4, NOW), "creator_id": np.arange(4)}
    index = ItemIndex.build([5, 6, 7, 8], np.ones((4, 2)), columns=columns)
    index.remove([6])
    assert sorted(Library.of(index, True).new_works(24, NOW + 1)[0].tolist()) == [5, 7, 8]


def floors(rng):
    counted = []
    for floor in (
        Floor(4, 90, new_work_hours=24),
        Floor(6, 90, new_work_hours=6),
        Floor(8, 90, new_creator_days=2),
    ):
        counts = FloorCounts(floor)
        keys = np.unique(rng.integers(0, 12, 8))
        births = NOW - rng.integers(0, int(floor.hours), len(keys)) * HOUR_MS
        counts.watch(keys, births, rng.integers(0, floor.exposures + 2, len(keys)), NOW)
        counted.append(counts)
    return counted


def units(counted):
    """Work w is of creator w mod 12, and of itself."""
    works = np.arange(24)
    return [(c.keys, c.keys) if c.floor.of_works else (works, works % 12) for c in counted]


@given(st.integers(0, 10**6))
def test_boosts_after_a_feed_are_those_made_anew(seed):
    rng = np.random.default_rng(seed)
    counted = floors(rng)
    boosts = Boosts.of(counted, units(counted), NOW, BOUND, Rates(None))
    shown = rng.integers(0, 12, 10)
    for counts in counted:
        counts.show(shown, NOW, 1.0)
    after = boosts.after(counted, shown, shown, NOW, BOUND)
    anew = Boosts.of(counted, units(counted), NOW, BOUND, Rates(None))
    keys = np.arange(12)
    for one, other in ((after.works, anew.works), (after.creators, anew.creators)):
        found, expected = np.zeros(12), np.zeros(12)
        one.add_to(found, keys)
        other.add_to(expected, keys)
        np.testing.assert_array_equal(found, expected)
        assert (found <= 0).all() and (found >= -BOUND).all()
    assert set(after.behind.ids.tolist()) <= set(anew.behind.ids.tolist()), (
        "a work that lags is found within a minute"
    )


@given(st.integers(0, 10**6))
def test_a_works_boost_is_the_strongest_of_its_floors(seed):
    counted = floors(np.random.default_rng(seed))
    boosts = Boosts.of(counted, units(counted), NOW, BOUND, Rates(None))
    found = np.zeros(12)
    boosts.works.add_to(found, np.arange(12))
    for work in range(12):
        lags = [0.0]
        for counts in counted[:2]:
            for key, birth, n in zip(counts.keys, counts.births, counts.counts, strict=True):
                if key == work:
                    age = (NOW - birth) / (counts.floor.hours * HOUR_MS / 2)
                    due = np.ceil(counts.floor.exposures * min(age, 1.0))
                    lags.append(max(due - n, 0) / counts.floor.exposures)
        assert found[work] == -BOUND * min(max(lags) * 4, 1.0)


def test_exploration_draws_from_those_farthest_behind():
    counts = FloorCounts(Floor(10, 10**6, new_work_hours=24))
    n = 2 * MOST_BEHIND
    counts.watch(np.arange(n), np.full(n, NOW - 12 * HOUR_MS), np.arange(n) % 10, NOW)
    behind = Behind.of([counts], [(counts.keys, counts.keys)], NOW, Rates(None))
    assert len(behind.ids) == MOST_BEHIND == len(set(behind.ids.tolist()))
    shown = behind.ids % 10
    assert (np.diff(shown) >= 0).all() and shown.max() == 4, "in the order of their lag"
    counts.has_budget = False
    assert len(Behind.of([counts], [(counts.keys, counts.keys)], NOW, Rates(None)).ids) == 0
