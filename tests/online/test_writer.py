"""The store equals the aggregates of the log, for any batches, order and repeats of events."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from event_platform import (
    HEAD,
    START,
    STRANGER,
    UNKNOWN_WORK,
    USERS,
    WORKS,
    Happenings,
    events,
    locate_events,
    platform,
)
from hypothesis import given
from hypothesis import strategies as st

from karec.aggregates.counters import BY_USER, BY_USER_SCENE, BY_WORK
from karec.aggregates.events import Events, Head
from karec.aggregates.histories import LIST_AGGREGATES, SHOWN
from karec.catalog.table import Table
from karec.errors import DataError
from karec.online.apply_events import EventApplier
from karec.online.item_counters import ItemCounters
from karec.online.read_state import StateReader
from karec.online.shown_history import PERIOD_MS, SPILL_LENGTH
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import StateUpdate
from karec.online.store.sqlite import SqliteStore

BASE = platform()
CONTENTS = StoreContents(BASE, HEAD)


def written(*batches: Events, store=None) -> tuple[SqliteStore, Counter]:
    store = SqliteStore(None) if store is None else store
    applier = EventApplier(CONTENTS)
    for batch in batches:
        is_new = store.append(batch, applier)
        applier.counts["repeated"] += int((~is_new).sum())
    return store, applier.counts


def item_counters(store, item_ids):
    return ItemCounters(store, CONTENTS).read(np.asarray(item_ids))


def put(store, key: bytes, value: bytes | None) -> None:
    """Replaces one entry of the state."""
    event = Events.from_columns("search", source=7, number=time.time_ns(), time_ms=START)
    assert store.append(event, lambda events, read: StateUpdate({key: value}, {}, np.zeros(1, bool))).all()


def assert_store_equals_aggregates(store, happened: Events) -> None:
    """Asserts that the store has the aggregates of every user and item after ``happened``."""
    located, reader = locate_events(BASE, happened), StateReader(store, CONTENTS)
    lists = {fold.name: fold.after(BASE, located) for fold in (*LIST_AGGREGATES, SHOWN)}
    by_user, by_scene = (
        [fold.after(BASE, located)[name] for name in CONTENTS.counters] for fold in (BY_USER, BY_USER_SCENE)
    )
    for row, user in enumerate(USERS.tolist()):
        state = reader.read_user(user)
        for name, relation in lists.items():
            assert state.lists[name].values.tolist() == relation.row_values(row).tolist(), name
            bounds = slice(relation.indptr[row], relation.indptr[row + 1])
            assert state.lists[name].times.tolist() == relation.times[bounds].tolist(), name
        assert state.counters.tobytes() == np.array([column[row] for column in by_user]).tobytes()
        scenes = np.array([column[2 * row : 2 * row + 2] for column in by_scene]).T
        assert state.scene_counters.tobytes() == np.ascontiguousarray(scenes).tobytes()
    by_work = BY_WORK.after(BASE, located)
    expected = np.stack([by_work[name] for name in CONTENTS.counters], axis=1)
    assert item_counters(store, WORKS).tobytes() == expected.tobytes()
    assert not reader.counts["corrupt entries"]


@given(rows=Happenings, cuts=st.lists(st.integers(0, 40), max_size=5))
def test_store_equals_aggregates_for_any_batch_sizes(rows, cuts):
    happened = events(rows)
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    store, counts = written(*(happened.take(slice(a, b)) for a, b in pairwise(bounds)))
    assert_store_equals_aggregates(store, happened)
    assert counts["counted"] == len(rows) and not counts["repeated"]


@given(rows=Happenings, order=st.randoms(use_true_random=False), repeats=st.integers(0, 20))
def test_store_does_not_depend_on_event_order_or_repeats(rows, order, repeats):
    happened = events(rows)
    places = [*range(len(rows)), *(order.randrange(len(rows)) for _ in range(repeats if rows else 0))]
    order.shuffle(places)
    cut = order.randint(0, len(places))
    store, counts = written(
        happened.take(np.array(places[:cut], int)), happened.take(np.array(places[cut:], int))
    )
    assert_store_equals_aggregates(store, happened)
    assert counts["repeated"] == len(places) - len(rows)


def exposures(n: int, **columns) -> Events:
    base = {
        "source": 1,
        "number": np.arange(n),
        "time_ms": START + np.arange(n),
        "user_id": 5,
        "item_id": 70,
        "scene": 0,
    }
    return Events.from_columns("impression", **{**base, "logged_ms": START + np.arange(n), **columns})


def test_shown_list_has_the_last_thousand_items():
    shown = exposures(3000, item_id=WORKS[np.arange(3000) % 4])
    late = exposures(
        5, number=np.arange(9000, 9005), time_ms=START + 2500, logged_ms=START + 3000, item_id=20
    )
    store, _ = written(*(shown.take(slice(a, a + 90)) for a in range(0, 3000, 90)), late)
    assert_store_equals_aggregates(store, Events.concatenate([shown, late]).sort_unique())
    kept = StateReader(store, CONTENTS).read_user(5).lists["shown"]
    # The late ones are placed behind the item of moment 2500.
    assert len(kept.values) == 1000 and kept.values[496:501].tolist() == [20] * 5


def test_shown_filters_hold_earlier_items_of_four_periods():
    day = 86_400_000
    works = 10**6 + np.arange(6000)
    shown = exposures(6000, item_id=works, time_ms=START + np.arange(6000) * day // 40)  # 150 days
    batches = [shown.take(slice(a, a + 300)) for a in range(0, 6000, 300)]
    store, _ = written(*batches)
    user = StateReader(store, CONTENTS).read_user(5)
    first = np.searchsorted(shown.time_ms // PERIOD_MS, (shown.time_ms[4999] // PERIOD_MS) - 3)
    assert first > 0 and user.has_seen(works[first:]).all()
    assert user.has_seen(works[:first]).mean() < 0.01  # forgotten
    assert user.has_seen(np.arange(10_000)).mean() < 0.01
    assert (
        len(user.earlier_filters) == 4
        and len(user.lists["shown"].values) == 1000 <= len(user.recent_shown) <= 1000 + SPILL_LENGTH
    )
    again, _ = written(*(batches[batch] for batch in (3, 0, 1, 2, *range(19, 3, -1))))
    assert StateReader(again, CONTENTS).read_user(5).has_seen(works[first:]).all()
    (key,) = records.keys_of(records.EARLIER_SHOWN, np.array([5]))
    whole = store.read_user(5, [key])[0]
    put(store, key, whole[:-1] + b"~")
    reader = StateReader(store, CONTENTS)
    assert not len(reader.read_user(5).earlier_filters) and reader.counts["corrupt entries"] == 1


def test_unknown_users_and_items_count_and_are_reported():
    happened = exposures(
        3, user_id=np.array([5, STRANGER, STRANGER]), item_id=np.array([UNKNOWN_WORK, 70, UNKNOWN_WORK])
    )
    store, counts = written(happened)
    state = StateReader(store, CONTENTS).read_user(STRANGER)
    assert state.lists["shown"].values.tolist() == [70, UNKNOWN_WORK]
    assert state.counters[0] == 2 and state.scene_counters[1, 0] == 2  # "city" is the base's second scene
    assert item_counters(store, [UNKNOWN_WORK])[0, 0] == 2
    assert (counts["counted"], counts["unknown user"], counts["unknown item"]) == (3, 2, 2)


def test_events_before_the_base_or_of_other_kinds_are_skipped():
    early = exposures(2, time_ms=START + np.array([-1, 0]))
    other = Events.from_columns("search", source=1, number=7, time_ms=START, user_id=5, text="abc")
    store, counts = written(early, other)
    assert (counts["before the bundle"], counts["not aggregated"], counts["counted"]) == (1, 1, 1)
    assert StateReader(store, CONTENTS).read_user(5).lists["shown"].values.tolist() == [70]


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, b"short"], ids=len)
def test_corrupt_entry_restarts_from_the_base(damage):
    store, _ = written(exposures(4))
    (key,) = records.keys_of(records.HISTORY, np.array([5]))
    put(store, key, damage or None)
    user = StateReader(store, CONTENTS)
    assert user.read_user(5).lists["history"].values.tolist() == [70, 10, 70]
    assert user.counts["corrupt entries"] == bool(damage)
    _, counts = written(exposures(1, number=50, labels=1), store=store)
    assert counts["corrupt entries"] == bool(damage)
    assert StateReader(store, CONTENTS).read_user(5).lists["history"].values.tolist() == [70, 10, 70, 70]


@pytest.mark.parametrize("letter", [b"s", b"n", b"c"], ids=["list", "shown", "counters"])
def test_entry_with_an_altered_byte_is_not_whole(letter):
    store, _ = written(exposures(3))
    (key,) = records.keys_of(letter, np.array([5]))
    whole = store.read_user(5, [key])[0]
    for place in range(len(whole)):
        altered = bytes([*whole[:place], whole[place] ^ 1, *whole[place + 1 :]])
        assert not records.is_whole(key, altered, 8)
    assert records.is_whole(key, whole, 8)
    assert not records.is_whole(records.keys_of(letter, np.array([3]))[0], whole, 8)  # another user's


def test_item_counters_begin_from_the_base_that_counted_the_item_first():
    """A later base contains the events that the store has counted already."""
    store, _ = written(exposures(3))
    counted = BY_WORK.after(BASE, locate_events(BASE, exposures(3)))
    columns = {**BASE.works.columns, **counted}
    later = StoreContents(replace(BASE, works=Table(BASE.works.ids, columns), time_ms=START + 3), HEAD)
    store.append(exposures(4), EventApplier(later))
    assert ItemCounters(store, later).read(np.array([70, 10]))[:, 0].tolist() == [4, 0]


def test_store_of_other_labels_is_refused():
    store = SqliteStore(None)
    CONTENTS.check(store)
    CONTENTS.check(store)
    for contents in (
        StoreContents(BASE, Head(("click",))),
        StoreContents(replace(BASE, labels={"scene": ["city", "home"]}), HEAD),
    ):
        with pytest.raises(DataError, match=r"Name another store in \[online\] url"):
            contents.check(store)
    with pytest.raises(ValueError, match="expected at least one that means enjoyed"):
        StoreContents(BASE, Head(("like",)))
