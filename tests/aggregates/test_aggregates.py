"""Both readings of every aggregate against a plain loop over the exposures."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.aggregates.advance import advance
from karec.aggregates.counters import BY_USER, BY_USER_SCENE, BY_WORK
from karec.aggregates.histories import FOLLOWS, HISTORY, LIKED, LIST_AGGREGATES, SKIPPED
from karec.aggregates.id_lists import Lists
from karec.aggregates.located_events import LocatedEvents
from karec.catalog.impressions import Impressions
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table

USERS, WORKS, CREATORS = np.array([5, 3, 9]), np.array([70, 10, 40, 20]), np.array([3, 9, 9, 5])
LABELS = ("click", "long_view", "like", "follow")
COUNTERS = ("count_exposed", *(f"count_{label}" for label in LABELS))
SCENES = ["home", "city"]
START = 4
KNOWN = {  # what the snapshot holds: values that come again, and one that stands twice
    "history": [[70, 10, 70], [], [40]],
    "skipped": [[], [20], []],
    "liked": [[10, 10], [], [40]],
    "follows": [[9], [], [3, 5]],
    "consumed": [[20], [40, 40], []],
}

Row = st.tuples(
    st.integers(0, 2),
    st.integers(0, 3),
    st.integers(START, START + 12),
    st.tuples(*[st.integers(0, 1)] * len(LABELS)),
    st.integers(-1, len(SCENES)),  # the first and the last name no scene
)
Rows = st.lists(Row, max_size=30).map(lambda rows: sorted(rows, key=lambda row: row[2]))


def relation(lists: list[list[int]]) -> Relation:
    return Relation(np.cumsum([0, *map(len, lists)]), np.array([*chain(*lists)], np.int64))


def snapshot() -> Snapshot:
    zeros = np.zeros(len(WORKS), np.int64)
    columns = {"creator_id": CREATORS, "song_id": WORKS, "type": zeros, "tag": zeros, "upload_ms": zeros}
    works = Table(WORKS, {**columns, "count_click": np.arange(4, dtype=np.float32)})
    users = Table(USERS, {"count_exposed": np.array([7, 0, 1], np.float32)})
    in_scene = {"count_exposed": np.arange(6, dtype=np.float32)}
    known = {name: relation(lists) for name, lists in KNOWN.items()}
    meaning = Meaning(("click", "long_view"), ("like",), ("follow",), ("long_view", "like"))
    return Snapshot(
        START,
        works,
        users,
        known,
        {"scene": SCENES},
        in_scene,
        meaning,
    )


def exposures(rows: list[tuple[int, int, int, tuple[int, ...], int]]) -> Impressions:
    labels = np.array([row[3] for row in rows], np.uint8).reshape(-1, len(LABELS))
    return Impressions(
        user_id=USERS[[row[0] for row in rows]],
        work_id=WORKS[[row[1] for row in rows]],
        time_ms=np.array([row[2] for row in rows], np.int64),
        scene=np.array([row[4] for row in rows], np.int32),
        labels={name: labels[:, at] for at, name in enumerate(LABELS)},
        play_ms=np.zeros(len(rows), np.int64),
    )


def plain_list(name, rows, user, as_of, keep):
    """The list of one user as of a moment."""
    adds = {
        "history": lambda click, long_view, like, follow: click or long_view,
        "skipped": lambda click, long_view, like, follow: not (click or long_view),
        "liked": lambda click, long_view, like, follow: like,
        "follows": lambda click, long_view, like, follow: follow,
        "consumed": lambda click, long_view, like, follow: long_view or like,
    }[name]
    values = CREATORS if name == "follows" else WORKS
    result = [
        *KNOWN[name][user],
        *(values[w] for u, w, time, flags, _ in rows if u == user and time < as_of and adds(*flags)),
    ]
    return list(dict.fromkeys(result)) if keep is None else result[-keep:]


def plain_counts(start, rows, as_of, row_of):
    """{counter: (rows,)} as of a moment; ``row_of`` returns the row in which an exposure counts."""
    counts = {
        name: start.get(name, np.zeros(len(next(iter(start.values()))))).astype(float) for name in COUNTERS
    }
    for user, work, time, flags, scene in rows:
        at = row_of(user, work, scene)
        if time < as_of and at is not None:
            for name, more in zip(COUNTERS, (1, *flags), strict=True):
                counts[name][at] += more
    return counts


FOLDS = [
    *LIST_AGGREGATES,
    *(replace(aggregate, keep=2) for aggregate in (HISTORY, SKIPPED)),
    replace(LIKED, keep=3),
]


@pytest.mark.parametrize("aggregate", FOLDS, ids=lambda aggregate: f"{aggregate.name}-{aggregate.keep}")
@given(rows=Rows, as_of=st.integers(START, START + 14))
def test_list_after_and_over_time_equal_a_loop(aggregate, rows, as_of):
    before = [row for row in rows if row[2] < as_of]
    expected = [plain_list(aggregate.name, rows, user, as_of, aggregate.keep) for user in range(3)]
    state = aggregate.after(snapshot(), LocatedEvents.from_impressions(snapshot(), exposures(before)))
    assert [state.row_values(user).tolist() for user in range(3)] == expected
    over_time = aggregate.over_time(snapshot(), LocatedEvents.from_impressions(snapshot(), exposures(rows)))
    lists = over_time.at(np.arange(3), np.full(3, as_of))
    assert [row[row >= 0][::-1].tolist() for row in lists.latest(60)] == expected


@pytest.mark.parametrize("aggregate", FOLDS, ids=lambda aggregate: f"{aggregate.name}-{aggregate.keep}")
@given(rows=Rows, as_of=st.integers(START, START + 14))
def test_list_after_two_steps_equals_one_step(aggregate, rows, as_of):
    parts = [row for row in rows if row[2] < as_of], [row for row in rows if row[2] >= as_of]
    state = snapshot()
    for part in parts:
        grown = aggregate.after(state, LocatedEvents.from_impressions(state, exposures(part)))
        state = replace(state, relations={**state.relations, aggregate.name: grown})
    once = aggregate.after(snapshot(), LocatedEvents.from_impressions(snapshot(), exposures(rows)))
    for ours, theirs in zip(
        (grown.indptr, grown.values, grown.times), (once.indptr, once.values, once.times), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("aggregate", "start", "row_of"),
    [
        (BY_USER, snapshot().users.columns, lambda user, work, scene: user),
        (BY_WORK, {"count_click": snapshot().works["count_click"]}, lambda user, work, scene: work),
        (
            BY_USER_SCENE,
            snapshot().user_scene_counters,
            lambda user, work, scene: user * len(SCENES) + scene if 0 <= scene < len(SCENES) else None,
        ),
    ],
    ids=["user", "work", "user_scene"],
)
@given(rows=Rows, as_of=st.integers(START, START + 14))
def test_counters_after_and_over_time_equal_a_loop(aggregate, start, row_of, rows, as_of):
    expected = plain_counts(start, rows, as_of, row_of)
    before = exposures([row for row in rows if row[2] < as_of])
    state = aggregate.after(snapshot(), LocatedEvents.from_impressions(snapshot(), before))
    over_time = aggregate.over_time(
        snapshot(), LocatedEvents.from_impressions(snapshot(), exposures(rows)), COUNTERS
    )
    n = len(expected["count_exposed"])
    counts = over_time.at(np.arange(n), np.full(n, as_of))
    assert counts.dtype == np.float32
    for at, name in enumerate(COUNTERS):
        assert state[name].dtype == np.float32
        assert state[name].tolist() == counts[:, at].tolist() == expected[name].tolist(), name
    assert not over_time.at(np.array([-1]), np.array([as_of])).any()


def test_history_keeps_the_last_100_items():
    """A training row must not read further back than a snapshot does, however long a history the encoder asks
    for."""
    rows = [(0, at % 4, START + at, (1, 0, 0, 0), 0) for at in range(140)]
    shown = exposures(rows)
    served = advance(snapshot(), shown, START + 140).relations["history"].row_values(0)
    assert served.tolist() == shown.work_id[-100:].tolist()
    over_time = HISTORY.over_time(snapshot(), LocatedEvents.from_impressions(snapshot(), shown))
    trained = over_time.at(np.array([0]), np.array([START + 140])).latest(120)[0]
    assert trained[trained >= 0][::-1].tolist() == served.tolist()


def test_lists_of_a_relation_equal_its_rows():
    known = relation(KNOWN["follows"])
    assert Lists.from_relation(known, np.array([2, 0])).latest(2).tolist() == [[5, 3], [9, -1]]
    assert Lists.from_relation(None, np.array([2, 0])).latest(2).tolist() == [[-1, -1], [-1, -1]]


def test_impression_of_an_unknown_id_is_refused_with_its_number():
    shown = exposures([(0, 0, START, (0, 0, 0, 0), 0)])
    with pytest.raises(ValueError, match="exposure 7 names work 11, which the snapshot does not hold"):
        LocatedEvents.from_impressions(snapshot(), replace(shown, work_id=np.array([11])), first=7)


def test_history_needs_a_label_of_enjoyed():
    shown = exposures([(0, 0, START, (0, 0, 1, 1), 0)])
    only = replace(shown, labels={name: shown.labels[name] for name in ("like", "follow")})
    with pytest.raises(
        ValueError, match=r"labels \['like', 'follow'\], expected at least one that means enjoyed"
    ):
        HISTORY.over_time(snapshot(), LocatedEvents.from_impressions(snapshot(), only))
    bare = replace(shown, labels={"click": shown.labels["click"]})
    state = FOLLOWS.after(snapshot(), LocatedEvents.from_impressions(snapshot(), bare))
    assert state.values.tolist() == [9, 3, 5]


def test_follows_are_unchanged_if_items_have_no_creators():
    bare = snapshot()
    columns = {name: column for name, column in bare.works.columns.items() if name != "creator_id"}
    bare = replace(bare, works=Table(bare.works.ids, columns))
    events = LocatedEvents.from_impressions(bare, exposures([(0, 0, START, (1, 1, 1, 1), 0)]))
    assert FOLLOWS.after(bare, events).values.tolist() == [9, 3, 5]
    lists = FOLLOWS.over_time(bare, events).at(np.arange(3), np.full(3, START + 1))
    assert lists.latest(2).tolist() == [[9, -1], [-1, -1], [5, 3]]
