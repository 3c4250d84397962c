"""New items and creators, their impressions and boosts, against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.exposure.boosts import MAX_UNDEREXPOSED, GuaranteeBoosts, SnapshotRates, UnderexposedItems
from karec.exposure.constraints import GuaranteedExposure
from karec.exposure.guarantees import ITEMS_PER_CREATOR, GuaranteeCounts, PublishedItems, newest_per_creator
from karec.index import ItemIndex
from karec.times import HOUR_MS

NOW = 100_000 * HOUR_MS
BOUND = 2.0
creators_and_ages = st.lists(st.tuples(st.integers(-1, 5), st.integers(-5, 60)), max_size=30)  # hours


def published_items(drawn):
    creators, ages = (np.array([pair[i] for pair in drawn], np.int64) for i in (0, 1))
    return PublishedItems(np.arange(len(drawn)) + 100, NOW - ages * HOUR_MS, creators)


@given(creators_and_ages, st.sampled_from([1, 24, 48]))
def test_new_items_are_published_within_the_hours_and_not_in_the_future(drawn, hours):
    ids, births = published_items(drawn).new_items(hours, NOW)
    new = [(100 + i, NOW - age * HOUR_MS) for i, (_, age) in enumerate(drawn) if 0 <= age < hours]
    assert list(zip(ids.tolist(), births.tolist(), strict=True)) == new


@given(creators_and_ages, st.sampled_from([1, 24, 48]))
def test_new_creators_have_no_older_item(drawn, hours):
    keys, births, ids, creators, published = published_items(drawn).new_creators(hours, NOW)
    ages = {}
    for creator, age in drawn:
        if creator >= 0 and age >= 0:
            ages.setdefault(creator, []).append(age)
    new = {creator: max(own) for creator, own in ages.items() if max(own) < hours}
    assert dict(zip(keys.tolist(), births.tolist(), strict=True)) == {
        c: NOW - a * HOUR_MS for c, a in new.items()
    }
    items = [(100 + i, c, NOW - a * HOUR_MS) for i, (c, a) in enumerate(drawn) if c in new and a >= 0]
    assert list(zip(ids.tolist(), creators.tolist(), published.tolist(), strict=True)) == items


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=40))
def test_newest_per_creator_keeps_the_newest_items(drawn):
    creators, published = (np.array([pair[i] for pair in drawn], np.int64) for i in (0, 1))
    ids, kept_creators = newest_per_creator(np.arange(len(drawn)), creators, published)
    for creator in range(4):
        own = published[creators == creator]
        kept = published[ids[kept_creators == creator]]
        assert sorted(kept, reverse=True) == sorted(own, reverse=True)[:ITEMS_PER_CREATOR]
    assert (creators[ids] == kept_creators).all()


def test_items_removed_from_the_index_are_not_new():
    columns = {"upload_ms": np.full(4, NOW), "creator_id": np.arange(4)}
    index = ItemIndex.build([5, 6, 7, 8], np.ones((4, 2)), columns=columns)
    index.remove([6])
    published = PublishedItems.from_index(index, with_creators=True)
    assert sorted(published.new_items(24, NOW + 1)[0].tolist()) == [5, 7, 8]


def test_unit_is_due_its_guarantee_in_half_of_the_time_that_it_is_new():
    counts = GuaranteeCounts(GuaranteedExposure(20, 100, new_work_hours=24))
    counts.set_new_units(np.array([5, 3]), np.array([NOW, NOW - 6 * HOUR_MS]), np.array([0, 4]), NOW)
    assert counts.keys.tolist() == [3, 5] and counts.counts.tolist() == [4, 0]
    np.testing.assert_allclose(counts.lags(counts.keys, NOW), [6 / 20, 0])
    np.testing.assert_allclose(counts.lags(counts.keys, NOW + 6 * HOUR_MS), [16 / 20, 10 / 20])
    np.testing.assert_allclose(counts.lags(counts.keys, NOW + 18 * HOUR_MS), [16 / 20, 1])
    assert counts.lags(np.array([4]), NOW + 18 * HOUR_MS).tolist() == [0], "no unit"


def test_unit_keeps_its_count_and_is_reported_as_reached_or_missed():
    counts = GuaranteeCounts(GuaranteedExposure(2, 100, new_work_hours=24))
    counts.set_new_units(np.array([1, 2]), np.array([NOW, NOW]), np.zeros(2), NOW)
    counts.add_page(np.array([2, 2, 7]), NOW + 12 * HOUR_MS, 1.0)
    counts.set_new_units(np.array([2, 4]), np.array([NOW, NOW + HOUR_MS]), np.array([0, 1]), NOW + HOUR_MS)
    assert counts.keys.tolist() == [1, 2, 4] and counts.counts.tolist() == [0, 2, 1]
    counts.set_new_units(np.array([4]), np.array([NOW + HOUR_MS]), np.zeros(1), NOW + 24 * HOUR_MS)
    assert (counts.reached, counts.missed, counts.keys.tolist()) == (1, 1, [4])


def test_budget_is_spent_only_by_units_below_their_guarantee():
    counts = GuaranteeCounts(GuaranteedExposure(2, 3, new_work_hours=24))
    counts.set_new_units(np.array([1, 2]), np.array([NOW, NOW]), np.array([0, 2]), NOW)
    counts.add_page(np.array([1, 2]), NOW + 12 * HOUR_MS, 1.0)
    assert counts.spent == 1 and counts.has_budget
    counts.add_page(np.array([1]), NOW + 12 * HOUR_MS, 1.0)
    counts.add_page(np.array([1]), NOW + 12 * HOUR_MS, 1.0)
    assert counts.spent == 2, "the third impression was not due"
    counts.add_page(np.array([], np.int64), NOW + 36 * HOUR_MS, math.exp(-1))
    assert counts.spent == pytest.approx(2 * math.exp(-1))


def boosts_with_3_guarantees(seed):
    """Item i of 24 has the creator i mod 12; guarantees of 24 h, 6 h, and of creators of 2 days."""
    rng = np.random.default_rng(seed)
    counts = [
        GuaranteeCounts(GuaranteedExposure(4, 90, new_work_hours=24)),
        GuaranteeCounts(GuaranteedExposure(6, 90, new_work_hours=6)),
        GuaranteeCounts(GuaranteedExposure(8, 90, new_creator_days=2)),
    ]
    for own in counts:
        keys = np.unique(rng.integers(0, 12, 8))
        births = NOW - rng.integers(0, int(own.guarantee.hours), len(keys)) * HOUR_MS
        own.set_new_units(keys, births, rng.integers(0, own.guarantee.exposures + 2, len(keys)), NOW)
    columns = {"upload_ms": np.full(24, NOW - 1), "creator_id": np.arange(24) % 12}
    index = ItemIndex.build(np.arange(24), np.ones((24, 2)), columns=columns)
    boosts = GuaranteeBoosts(counts, BOUND, index, None, NOW)
    boosts._items = [
        (own.keys, own.keys) if own.guarantee.is_for_items else (np.arange(24), np.arange(24) % 12)
        for own in counts
    ]
    boosts.rebuild(NOW)
    return counts, boosts, rng


def values_of(sparse):
    total = np.zeros(12)
    sparse.add_to(total, np.arange(12))
    return total


@given(st.integers(0, 10**6))
def test_updated_boosts_equal_rebuilt_boosts(seed):
    counts, boosts, rng = boosts_with_3_guarantees(seed)
    shown = rng.integers(0, 12, 10)
    for own in counts:
        own.add_page(shown, NOW, 1.0)
    boosts.update(shown, shown, NOW)
    updated = values_of(boosts.by_item), values_of(boosts.by_creator)
    ids = set(boosts.underexposed.ids.tolist())
    boosts.rebuild(NOW)
    for one, other in zip(updated, (boosts.by_item, boosts.by_creator), strict=True):
        np.testing.assert_array_equal(one, values_of(other))
        assert (one <= 0).all() and (one >= -BOUND).all()
    assert ids <= set(boosts.underexposed.ids.tolist()), "an item below its guarantee is found in a minute"


@given(st.integers(0, 10**6))
def test_boost_of_an_item_is_the_strongest_of_its_guarantees(seed):
    counts, boosts, _ = boosts_with_3_guarantees(seed)
    result = values_of(boosts.by_item)
    for item in range(12):
        lags = [0.0]
        for own in counts[:2]:
            for key, birth, n in zip(own.keys, own.births, own.counts, strict=True):
                if key == item:
                    age = (NOW - birth) / (own.guarantee.hours * HOUR_MS / 2)
                    due = np.ceil(own.guarantee.exposures * min(age, 1.0))
                    lags.append(max(due - n, 0) / own.guarantee.exposures)
        assert result[item] == -BOUND * min(max(lags) * 4, 1.0)


def test_underexposed_items_are_those_with_the_largest_lag():
    counts = GuaranteeCounts(GuaranteedExposure(10, 10**6, new_work_hours=24))
    n = 2 * MAX_UNDEREXPOSED
    counts.set_new_units(np.arange(n), np.full(n, NOW - 12 * HOUR_MS), np.arange(n) % 10, NOW)

    def underexposed():
        items = [(counts.keys, counts.keys)]
        return UnderexposedItems.from_counts([counts], items, NOW, SnapshotRates(None))

    result = underexposed()
    assert len(result.ids) == MAX_UNDEREXPOSED == len(set(result.ids.tolist()))
    impressions = result.ids % 10
    assert (np.diff(impressions) >= 0).all() and impressions.max() == 4, "in the order of their lag"
    counts.has_budget = False
    assert len(underexposed().ids) == 0


def test_thompson_sampling_prefers_items_with_positive_outcomes():
    ids = np.arange(10)

    def first_of(items, n):
        return np.array([int(items.sample(i, (), 1)[0]) for i in range(n)])

    one_good = UnderexposedItems(
        ids, ids, 0 * ids, np.where(ids == 4, 90.0, 1.0), np.where(ids == 4, 10.0, 99.0)
    )
    assert np.mean(first_of(one_good, 200) == 4) > 0.8
    all_equal = UnderexposedItems(ids, ids, 0 * ids, np.ones(10), np.ones(10))
    first = np.bincount(first_of(all_equal, 2_000), minlength=10)
    assert first.min() > 50 and first[0] > first[9], "items with a larger lag are drawn more often"
