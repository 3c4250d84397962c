"""What the store holds is the folds of the log, whatever batches, order and repeats they come in."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from event_platform import HEAD, START, STRANGER, UNKNOWN_WORK, USERS, WORKS, Happenings, events, platform
from hypothesis import given
from hypothesis import strategies as st

from karec.aggregates.counters import BY_USER, BY_USER_SCENE, BY_WORK
from karec.aggregates.events import Events, Head
from karec.aggregates.fading_counters import RECENT_BY_WORK
from karec.aggregates.histories import LIST_FOLDS, SHOWN
from karec.aggregates.located_events import LocatedEvents
from karec.errors import DataError
from karec.online.apply_events import EventApplier
from karec.online.event_log.tail import Cursor
from karec.online.read_state import StateReader
from karec.online.shown_history import PERIOD_MS, SPILL
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.memory import MemoryStore
from karec.online.store.store import Conflict
from karec.times import HOUR_MS

BASE = platform()
FOLDED = StoreContents(BASE, HEAD)


def at(n: int) -> Cursor:
    return Cursor({"w": (0, n)})


def written(*batches: Events, store=None) -> tuple[MemoryStore, Counter]:
    store = MemoryStore() if store is None else store
    writer = EventApplier(store, FOLDED)
    for batch in batches:
        writer.apply(batch, at(writer.cursor.places.get("w", (0, 0))[1] + 1))
    return store, writer.counts


def holds(store, happened: Events) -> None:
    """Asserts that the store says of every user and work what the folds say after ``happened``."""
    located, reader = LocatedEvents.of_log(BASE, HEAD, happened), StateReader(store, FOLDED)
    lists = {fold.name: fold.after(BASE, located) for fold in (*LIST_FOLDS, SHOWN)}
    by_user, by_scene = (
        [fold.after(BASE, located)[name] for name in FOLDED.counters] for fold in (BY_USER, BY_USER_SCENE)
    )
    for row, user in enumerate(USERS.tolist()):
        state = reader.user(user)
        for name, relation in lists.items():
            assert state.lists[name].values.tolist() == relation.of(row).tolist(), name
            bounds = slice(relation.indptr[row], relation.indptr[row + 1])
            assert state.lists[name].times.tolist() == relation.times[bounds].tolist(), name
        assert state.counters.tobytes() == np.array([column[row] for column in by_user]).tobytes()
        scenes = np.array([column[2 * row : 2 * row + 2] for column in by_scene]).T
        assert state.scene_counters.tobytes() == np.ascontiguousarray(scenes).tobytes()
    by_work = BY_WORK.after(BASE, located)
    expected = np.stack([by_work[name] for name in FOLDED.counters], axis=1)
    assert reader.works(WORKS).tobytes() == expected.tobytes()
    recent = RECENT_BY_WORK.over_time(located, FOLDED.counters, 4).at(
        np.arange(4), np.full(4, START + 10_000)
    )
    assert reader.recent(WORKS, START + 10_000).tobytes() == recent.tobytes()
    assert not reader.counts["corrupt entries"]


@given(rows=Happenings, cuts=st.lists(st.integers(0, 40), max_size=5))
def test_events_in_batches_of_any_size_give_the_folds_of_all(rows, cuts):
    happened = events(rows)
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    store, counts = written(*(happened.take(slice(a, b)) for a, b in pairwise(bounds)))
    holds(store, happened)
    assert counts["folded"] == len(rows) and not counts["repeated"]


@given(rows=Happenings, order=st.randoms(use_true_random=False), repeats=st.integers(0, 20))
def test_events_in_any_order_and_more_than_once_give_the_same(rows, order, repeats):
    happened = events(rows)
    places = [*range(len(rows)), *(order.randrange(len(rows)) for _ in range(repeats if rows else 0))]
    order.shuffle(places)
    cut = order.randint(0, len(places))
    store, counts = written(
        happened.take(np.array(places[:cut], int)), happened.take(np.array(places[cut:], int))
    )
    holds(store, happened)
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
    return Events.of("exposure", **{**base, "logged_ms": START + np.arange(n), **columns})


def test_the_last_thousand_shown_works_are_kept_across_both_lists():
    shown = exposures(3000, item_id=WORKS[np.arange(3000) % 4])
    late = exposures(
        5, number=np.arange(9000, 9005), time_ms=START + 2500, logged_ms=START + 3000, item_id=20
    )
    store, _ = written(*(shown.take(slice(a, a + 90)) for a in range(0, 3000, 90)), late)
    holds(store, Events.joined([shown, late]).in_order())
    kept = StateReader(store, FOLDED).user(5).lists["shown"]
    # behind that of 2500 itself
    assert len(kept.values) == 1000 and kept.values[496:501].tolist() == [20] * 5


def test_what_was_shown_before_the_last_thousand_is_held_by_filters_of_four_periods():
    day = 86_400_000
    works = 10**6 + np.arange(6000)
    shown = exposures(6000, item_id=works, time_ms=START + np.arange(6000) * day // 40)  # 150 days
    batches = [shown.take(slice(a, a + 300)) for a in range(0, 6000, 300)]
    store, _ = written(*batches)
    user = StateReader(store, FOLDED).user(5)
    first = np.searchsorted(shown.time_ms // PERIOD_MS, (shown.time_ms[4999] // PERIOD_MS) - 3)
    assert first > 0 and user.was_shown(works[first:]).all()
    assert user.was_shown(works[:first]).mean() < 0.01  # long ago, and forgotten
    assert user.was_shown(np.arange(10_000)).mean() < 0.01
    assert (
        len(user.earlier) == 4 and len(user.lists["shown"].values) == 1000 <= len(user.shown) <= 1000 + SPILL
    )
    again, _ = written(*(batches[at] for at in (3, 0, 1, 2, *range(19, 3, -1))))
    assert StateReader(again, FOLDED).user(5).was_shown(works[first:]).all()
    (key,) = records.keys_of(records.EARLIER_SHOWN, np.array([5]))
    whole = store.read([key])[0]
    store.commit({key: whole[:-1] + b"~"}, at(20).to_bytes())
    reader = StateReader(store, FOLDED)
    assert not len(reader.user(5).earlier) and reader.counts["corrupt entries"] == 1


def test_strangers_and_unknown_works_count_as_any_other_and_are_told():
    happened = exposures(
        3, user_id=np.array([5, STRANGER, STRANGER]), item_id=np.array([UNKNOWN_WORK, 70, UNKNOWN_WORK])
    )
    store, counts = written(happened)
    state = StateReader(store, FOLDED).user(STRANGER)
    assert state.lists["shown"].values.tolist() == [70, UNKNOWN_WORK]
    assert state.counters[0] == 2 and state.scene_counters[1, 0] == 2  # "city" is the base's second scene
    assert StateReader(store, FOLDED).works(np.array([UNKNOWN_WORK]))[0, 0] == 2
    assert (counts["folded"], counts["unknown user"], counts["unknown work"]) == (3, 2, 2)


def test_what_is_before_the_base_or_of_no_fold_is_counted_and_passed_over():
    early = exposures(2, time_ms=START + np.array([-1, 0]))
    other = Events.of("search", source=1, number=7, time_ms=START, user_id=5, text="abc")
    store, counts = written(early, other)
    assert (counts["before the base"], counts["of a kind that no fold reads"], counts["folded"]) == (1, 1, 1)
    assert StateReader(store, FOLDED).user(5).lists["shown"].values.tolist() == [70]


def test_one_id_of_two_users_or_of_two_moments_is_two_events():
    happened = exposures(
        3, number=np.zeros(3, int), time_ms=START + np.array([1, 1, 2]), user_id=np.array([5, 3, 5])
    )
    assert written(happened)[1]["folded"] == 3


def test_ids_out_of_the_window_are_forgotten_and_those_within_are_not():
    first = exposures(2, time_ms=START + np.array([0, HEAD.late_ms]), logged_ms=START + HEAD.late_ms)
    store, _ = written(first)
    later = exposures(
        1, number=9, time_ms=START + 2 * HEAD.late_ms + HOUR_MS, logged_ms=START + 2 * HEAD.late_ms + HOUR_MS
    )
    written(later, store=store)
    hours = sorted(int.from_bytes(key[1:5]) for key, _ in store.scan(records.SEEN, b"e"))
    assert hours == [(START + HEAD.late_ms) // HOUR_MS, (START + 2 * HEAD.late_ms) // HOUR_MS + 1]
    assert written(first.take(slice(1, 2)), store=store)[1]["repeated"] == 1


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, b"short"], ids=len)
def test_a_corrupt_entry_is_begun_anew_from_the_base_and_counted(damage):
    store, _ = written(exposures(4))
    (key,) = records.keys_of(records.HISTORY, np.array([5]))
    store.commit({key: damage or None}, at(1).to_bytes())
    user = StateReader(store, FOLDED)
    assert user.user(5).lists["history"].values.tolist() == [70, 10, 70]
    assert user.counts["corrupt entries"] == bool(damage)
    _, counts = written(exposures(1, number=50, labels=1), store=store)
    assert counts["corrupt entries"] == bool(damage)
    assert StateReader(store, FOLDED).user(5).lists["history"].values.tolist() == [70, 10, 70, 70]


@pytest.mark.parametrize("letter", [b"s", b"n", b"c"], ids=["list", "shown", "counters"])
def test_every_altered_byte_of_an_entry_is_noticed(letter):
    store, _ = written(exposures(3))
    (key,) = records.keys_of(letter, np.array([5]))
    whole = store.read([key])[0]
    for place in range(len(whole)):
        altered = bytes([*whole[:place], whole[place] ^ 1, *whole[place + 1 :]])
        assert not records.is_whole(key, altered, 8)
    assert records.is_whole(key, whole, 8)
    assert not records.is_whole(records.keys_of(letter, np.array([3]))[0], whole, 8)  # another user's


def test_a_second_writer_makes_the_first_stop():
    store = MemoryStore()
    first, second = EventApplier(store, FOLDED), EventApplier(store, FOLDED)
    first.apply(exposures(1), at(1))
    with pytest.raises(Conflict):
        second.apply(exposures(1), at(1))
    assert EventApplier(store, FOLDED).cursor == at(1)
    assert StateReader(store, FOLDED).user(5).counters[0] == 8


def test_a_store_of_other_labels_is_refused():
    store, _ = written(exposures(1))
    for folded in (
        StoreContents(BASE, Head(("click",))),
        StoreContents(replace(BASE, labels={"scene": ["city", "home"]}), HEAD),
    ):
        for use in (StateReader, EventApplier):
            with pytest.raises(DataError, match="begin an empty store and rebuild"):
                use(store, folded)
    with pytest.raises(ValueError, match="none that says enjoyed"):
        StoreContents(BASE, Head(("like",)))
