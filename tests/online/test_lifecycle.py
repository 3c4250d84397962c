"""What became of works depends on which events the log holds, not on their order, batches or repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from event_platform import HEAD, START, WORKS, platform
from hypothesis import given
from hypothesis import strategies as st

from karec.aggregates.events import ADJUST, BLOCK, DELETE, EDIT, UNBLOCK, UPLOAD, Events
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.online.apply_events import EventApplier
from karec.online.changed_items import Changed, ChangedItems
from karec.online.event_log.tail import Cursor
from karec.online.item_life import ItemLife
from karec.online.items_since import ItemsSince
from karec.online.lifecycle import ItemLifecycle
from karec.online.store.contents import StoreContents
from karec.online.store.memory import MemoryStore

BASE = platform()
NEW = (501, 502)
TEXTS = (
    '{"scale": 2.0}',
    '{"scale": 0.5, "offset": -1}',
    '{"offset": NaN}',
    "",
    '{"count_click": 5, "song": 1}',
    '{"creator_id": 9}',
    "[1]",
    "{",
    '{"creator_id": null}',
)
Word = st.tuples(
    st.sampled_from([UPLOAD, DELETE, EDIT, BLOCK, UNBLOCK, ADJUST]),
    st.sampled_from([-1, int(WORKS[0]), int(WORKS[3]), *NEW]),
    st.sampled_from([3, 5, 9]),
    st.integers(-2, 3),
    st.integers(0, 5),
    st.sampled_from(TEXTS),
)
Words = st.lists(Word, max_size=14)


def no_number(column: str, text: str) -> int:
    return -1


def taken(columns: object, number: int) -> str:
    return ""


def events(words: list[tuple[int, int, int, int, int, str]]) -> Events:
    words = [word for word in words if word[1] >= 0 or word[0] in (BLOCK, UNBLOCK)]
    columns = [np.array([word[at] for word in words], np.int64) for at in range(5)]
    kind, work, creator, after, number = columns
    return Events.of(
        kind.astype(np.uint8),
        source=np.ones(len(words), np.int64),
        number=number,
        time_ms=START + after,
        logged_ms=np.full(len(words), START + 10),
        item_id=work,
        creator_id=creator,
        text=np.array([word[5] for word in words], object),
    )


def stored(happened: Events, batches: list[int]) -> ItemLifecycle:
    store = MemoryStore()
    writer = EventApplier(store, StoreContents(BASE, HEAD))
    for n, at in enumerate(
        np.split(np.arange(len(happened)), sorted(cut % (len(happened) + 1) for cut in batches))
    ):
        writer.apply(happened.take(at), Cursor({"w": (0, n + 1)}))
    return ItemLifecycle.all_of(store, Counter())


def works_of(*steps: ItemLifecycle) -> ChangedItems:
    since = ItemsSince(BASE, no_number, taken)
    for lives in steps:
        since.step(lives)
    return since.over(ChangedItems.none(BASE, len(HEAD.labels) + 1))


def told(works: ChangedItems) -> tuple[object, ...]:
    order = np.argsort(works.added.works.ids)
    table = works.added.works
    columns = {name: column[order].tolist() for name, column in table.columns.items()}
    return works.gone.tolist(), table.ids[order].tolist(), columns


@given(words=Words, order=st.randoms(use_true_random=False), batches=st.lists(st.integers(0, 14), max_size=3))
def test_any_order_batches_and_repeats_give_the_same(words, order, batches):
    happened = events(words)
    places = [
        *range(len(happened)),
        *(order.randrange(len(happened)) for _ in range(3 if len(happened) else 0)),
    ]
    order.shuffle(places)
    once = stored(happened, [])
    again = stored(happened.take(np.array(places, int)), batches)
    assert again == once
    halves = np.array(places[: len(places) // 2], int), np.array(places[len(places) // 2 :], int)
    lives, steps = ItemLifecycle(), []
    for half in halves:
        steps.append(lives.step(happened.take(half), Counter()))
        lives = ItemLifecycle({**lives.works, **steps[-1].works}, {**lives.creators, **steps[-1].creators})
    assert lives == once
    assert told(works_of(*steps)) == told(works_of(once))


@given(words=Words)
def test_the_newest_words_say_whether_a_work_is_there(words):
    """Deleted or not, blocked or not, and its creator blocked or not: by the newest event of each."""
    happened = events(words)
    lives = stored(happened, [])
    works = works_of(lives)

    def newest(kinds: tuple[int, int], of: Callable[[int], bool]) -> int:
        rows = [
            row
            for row in range(len(happened))
            if happened.kind[row] in kinds and of(row) and _readable(happened, row)
        ]
        order = [
            (happened.time_ms[row], happened.kind[row] in (DELETE, BLOCK), happened.number[row])
            for row in rows
        ]
        return int(happened.kind[rows[order.index(max(order))]]) if rows else -1

    for work in (*WORKS.tolist(), *NEW):
        maker = _maker(BASE, lives, work)
        there = newest((UPLOAD, DELETE), lambda row, work=work: happened.item_id[row] == work)
        blocked = newest((BLOCK, UNBLOCK), lambda row, work=work: happened.item_id[row] == work)
        of_maker = newest(
            (BLOCK, UNBLOCK),
            lambda row, maker=maker: happened.item_id[row] < 0 and happened.creator_id[row] == maker,
        )
        gone = (
            there == DELETE or blocked == BLOCK or (of_maker == BLOCK and (work in WORKS or there == UPLOAD))
        )
        assert (work in works.gone) == gone, work
        assert (work in works.added.works.ids) == (
            not gone and (_edited(lives, work) if work in WORKS else there == UPLOAD)
        ), work


@given(
    words=Words,
    after=st.integers(-2, 4),
    has=st.sets(st.sampled_from([int(WORKS[0]), int(WORKS[3]), *NEW])),
    makers=st.lists(st.sampled_from([-1, 3, 9]), min_size=4, max_size=4),
    alike=st.booleans(),
)
def test_another_base_takes_over_what_became_of_works_as_if_it_had_been_told_of_each(
    words, after, has, makers, alike
):
    """A base of an earlier or later moment, which has some of the uploaded works and lacks some that the
    first has."""
    lives = stored(events(words), [])
    former = ItemsSince(BASE, no_number, taken)
    former.step(lives)
    columns = {
        "creator_id": np.array(makers[: len(has)], np.int64),
        "count_click": np.zeros(len(has), np.float32),
    }
    if not alike:
        columns["song"] = np.zeros(len(has), np.int32)
    base = replace(BASE, time_ms=START + after, works=Table(np.array(sorted(has), np.int64), columns))
    heir, told_each = ItemsSince(base, no_number, taken), ItemsSince(base, no_number, taken)
    begun, stepped = heir.begin(former.known()), told_each.step(lives)
    none = ChangedItems.none(base, len(HEAD.labels) + 1)
    assert told(heir.over(none)) == told(told_each.over(none))
    assert sorted(heir.over(none).came.works.ids) == sorted(told_each.over(none).came.works.ids)
    assert put(heir, begun) == put(told_each, stepped)
    assert (heir.lives, heir.counts) == (told_each.lives, told_each.counts)
    more = ItemLifecycle().step(
        events([(DELETE, NEW[0], 3, 9, 9, ""), (UPLOAD, NEW[1], 5, 9, 9, "")]), Counter()
    )
    heir.step(more), told_each.step(more)
    assert told(heir.over(none)) == told(told_each.over(none))


def put(since: ItemsSince, changed: Changed) -> tuple[object, ...]:
    """What an index is told, whatever the order of the rows."""
    ids = since.over(ChangedItems.none(since.base, len(HEAD.labels) + 1)).added.works.ids[changed.rows]
    moments = dict(zip(ids.tolist(), changed.time_ms.tolist(), strict=True))
    return moments, changed.hidden.tolist(), changed.back.tolist(), changed.names, changed.adjusted


def test_what_was_read_before_stays_while_rows_come_and_go():
    since = ItemsSince(BASE, no_number, taken)
    now, read = ChangedItems.none(BASE, len(HEAD.labels) + 1), []
    for n in range(40):
        kind, work = (DELETE, 600 + n // 2) if n % 5 == 4 else (UPLOAD, 600 + n)
        since.step(ItemLifecycle().step(events([(kind, work, 3, 0, n, "")]), Counter()))
        now = since.over(now)
        read.append((now, told(now)))
    for works, then in read:
        assert told(works) == then


def _edited(lives: ItemLifecycle, work: int) -> bool:
    return bool(lives.works.get(work, ItemLife()).values(BASE.time_ms))


def _readable(happened: Events, row: int) -> bool:
    return happened.kind[row] != UPLOAD or happened.text[row] not in ("[1]", "{")


def _maker(base: Snapshot, lives: ItemLifecycle, work: int) -> int:
    row = int(base.works.lookup(np.array([work]))[0])
    values = lives.works.get(work, ItemLife()).values(base.time_ms if row >= 0 else -(1 << 63))
    if "creator_id" in values:
        return values["creator_id"] if values["creator_id"] is not None else -1
    return -1 if row < 0 else int(base.works["creator_id"][row])


def test_unreadable_texts_are_counted_and_pass_over_their_event():
    happened = events(
        [(UPLOAD, 501, 3, 0, 0, "{"), (EDIT, 501, 3, 0, 1, '{"a": [1]}'), (UPLOAD, 502, 3, 0, 2, "")]
    )
    store = MemoryStore()
    writer = EventApplier(store, StoreContents(BASE, HEAD))
    writer.apply(happened, Cursor({"w": (0, 1)}))
    assert (writer.counts["of works"], writer.counts["unreadable text"]) == (3, 2)
    assert works_of(ItemLifecycle.all_of(store, Counter())).added.works.ids.tolist() == [502]
