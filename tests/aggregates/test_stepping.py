"""Aggregates of single events have the bits of aggregates of the whole log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from event_platform import HEAD, START, Happenings, events, locate_events, platform
from hypothesis import given
from hypothesis import strategies as st

from karec.aggregates.counters import BY_USER, BY_USER_SCENE, BY_WORK, count_increments
from karec.aggregates.histories import FOLLOWS, HISTORY, LIKED, LIST_AGGREGATES, SHOWN, SKIPPED
from karec.online.store.contents import StoreContents

BASE = platform()
COUNTERS = StoreContents(BASE, HEAD).counters
LISTS = [
    *LIST_AGGREGATES,
    SHOWN,
    *(replace(aggregate, keep=2) for aggregate in (HISTORY, SKIPPED, SHOWN)),
    replace(LIKED, keep=3),
]


def step(aggregate, state, time_ms, number, value):
    """Returns the state of one user after one change."""
    change = np.array([[time_ms, number, value]], np.int64)
    return aggregate.step_all(np.array([0, len(state)]), state, np.array([0, 1]), change)[1]


def stepped(aggregate, state, log_events, numbers, places):
    """The state of one user after those of the events at ``places`` that are the user's."""
    at, values = aggregate.changes(BASE.meaning, log_events)
    for place, value in zip(at.tolist(), values.tolist(), strict=True):
        if place in places:
            state = step(aggregate, state, int(log_events.time_ms[place]), int(numbers[place]), value)
    return state


@pytest.mark.parametrize("aggregate", LISTS, ids=lambda aggregate: f"{aggregate.name}-{aggregate.keep}")
@given(rows=Happenings)
def test_list_steps_equal_after_and_over_time(aggregate, rows):
    log_events = locate_events(BASE, events(rows))
    after, over_time = aggregate.after(BASE, log_events), aggregate.over_time(BASE, log_events)
    places, values = aggregate.changes(BASE.meaning, log_events)
    changed = dict(zip(places.tolist(), values.tolist(), strict=True))
    states = [aggregate.read_snapshot(BASE, user) for user in range(3)]
    at = over_time.at(np.repeat(np.arange(3), len(rows)), np.tile(log_events.time_ms, 3))
    for moment in range(len(rows)):
        if (
            moment == 0 or log_events.time_ms[moment] > log_events.time_ms[moment - 1]
        ):  # strictly before: ties are read first
            read = [aggregate.read(state).values.tolist() for state in states]
        for user in range(3):
            where = user * len(rows) + moment
            assert at.values[at.starts[where] : at.ends[where]].tolist() == read[user]
        if moment in changed:
            user = int(log_events.user[moment])
            states[user] = step(
                aggregate, states[user], int(log_events.time_ms[moment]), moment, changed[moment]
            )
    for user, state in enumerate(states):
        read = aggregate.read(state)
        bounds = slice(after.indptr[user], after.indptr[user + 1])
        assert read.values.tolist() == after.values[bounds].tolist()
        assert read.times.tolist() == after.times[bounds].tolist()


@pytest.mark.parametrize("aggregate", LISTS, ids=lambda aggregate: f"{aggregate.name}-{aggregate.keep}")
@given(rows=Happenings, order=st.randoms(use_true_random=False))
def test_list_state_does_not_depend_on_event_order(aggregate, rows, order):
    log_events = locate_events(BASE, events(rows))
    places, values = aggregate.changes(BASE.meaning, log_events)
    changes = [
        (int(log_events.user[p]), int(log_events.time_ms[p]), p, v)
        for p, v in zip(places, values, strict=True)
    ]
    shuffled = order.sample(changes, len(changes))
    for user in range(3):
        straight, mixed = (
            [aggregate.read_snapshot(BASE, user), *((t, n, v) for u, t, n, v in some if u == user)]
            for some in (changes, shuffled)
        )
        states = []
        for begun, *some in (straight, mixed):
            state = begun
            for t, n, v in some:
                state = step(aggregate, state, t, n, v)
            states.append(state.tolist())
        assert states[0] == states[1]


@pytest.mark.parametrize("aggregate", [BY_USER, BY_WORK, BY_USER_SCENE], ids=lambda aggregate: aggregate.by)
@given(rows=Happenings)
def test_counter_steps_equal_after_and_over_time(aggregate, rows):
    log_events = locate_events(BASE, events(rows))
    n_rows = {"user": 3, "work": 4, "user_scene": 6}[aggregate.by]
    state = aggregate.read_snapshot(BASE, np.arange(n_rows), COUNTERS)
    over_time = aggregate.over_time(BASE, log_events, COUNTERS)
    at = over_time.at(np.tile(np.arange(n_rows), len(rows)), np.repeat(log_events.time_ms, n_rows))
    for moment in range(len(rows)):
        if moment == 0 or log_events.time_ms[moment] > log_events.time_ms[moment - 1]:
            read = aggregate.read(state)
        assert at[moment * n_rows : (moment + 1) * n_rows].tobytes() == read.tobytes()
        aggregate.step_all(state, log_events.take(slice(moment, moment + 1)), COUNTERS)
    after = aggregate.after(BASE, log_events)
    assert np.stack([after[name] for name in COUNTERS], axis=1).tobytes() == aggregate.read(state).tobytes()


@given(rows=Happenings, requested=st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 14)), max_size=30))
def test_sweep_and_binary_search_give_equal_results(rows, requested):
    """One sweep over all events and a bisection for each query are two ways to read the same lists and
    counters."""
    log_events = locate_events(BASE, events(rows))
    requested = sorted(requested, key=lambda one: one[1])
    users, moments = (np.array([one[at] for one in requested], np.int64) for at in range(2))
    counters = BY_USER.over_time(BASE, log_events, COUNTERS)
    swept = counters.at(users, START + moments)
    single = [counters.at(users[at : at + 1], START + moments[at : at + 1]) for at in range(len(requested))]
    assert swept.tobytes() == b"".join(one.tobytes() for one in single[: len(requested)])
    backwards = counters.at(users[::-1], START + moments[::-1])
    assert swept.tobytes() == np.ascontiguousarray(backwards[::-1]).tobytes()
    known = users >= 0
    for aggregate in LIST_AGGREGATES:
        lists = aggregate.over_time(BASE, log_events)
        forth = lists.at(users[known], START + moments[known]).latest(50)
        back = lists.at(users[known][::-1], START + moments[known][::-1]).latest(50)
        assert forth.tolist() == back[::-1].tolist()


def test_unfollow_removes_a_creator_until_the_next_follow():
    """User 5 follows 9 (in the base) and 3, unfollows 9 and follows 9 again: 9 is now last."""
    follow, unfollow = 3, 4
    rows = [
        (follow, 0, 0, 1, 0, -1),
        (unfollow, 0, 1, 2, 0, -1),
        (unfollow, 0, 2, 3, 0, -1),
        (follow, 0, 1, 4, 0, -1),
    ]
    over_time = FOLLOWS.over_time(BASE, locate_events(BASE, events(rows)))
    lists = over_time.at(np.zeros(6, np.int64), START + np.arange(6))
    assert [row[row >= 0][::-1].tolist() for row in lists.latest(5)] == [[9], [9], [9, 3], [3], [3], [3, 9]]


def test_later_label_counts_without_an_impression():
    exposure, label = 0, 1
    rows = [(exposure, 0, 0, 1, 0, 0), (label, 0, 0, 2, 0b101, 0)]  # shown, later clicked and liked
    log_events = locate_events(BASE, events(rows))
    counts = dict(
        zip(
            COUNTERS,
            BY_WORK.over_time(BASE, log_events, COUNTERS).at(np.array([0]), np.array([START + 3]))[0],
            strict=True,
        )
    )
    assert counts == {
        "count_exposed": 1,
        "count_click": 1,
        "count_long_view": 0,
        "count_like": 1,
        "count_follow": 0,
    }
    assert HISTORY.after(BASE, log_events).row_values(0).tolist() == [70, 10, 70, 70]
    assert SKIPPED.after(BASE, log_events).row_values(0).tolist() == [70]
    assert LIKED.after(BASE, log_events).row_values(0).tolist() == [10, 70]
    assert count_increments(log_events, ("count_exposed",)).tolist() == [[1], [0]]
