"""The item lifecycle depends on the set of events in the log, not on their order, batches or repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from event_platform import HEAD, START, WORKS, platform
from hypothesis import given
from hypothesis import strategies as st

from karec.aggregates.events import ADJUST, BLOCK, DELETE, EDIT, UNBLOCK, UPLOAD, Events
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.online.apply_events import EventApplier
from karec.online.changed_items import ChangedItems, IndexUpdate
from karec.online.item_changes import ItemChanges
from karec.online.lifecycle import ItemLife, ItemLifecycle
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.sqlite import SqliteStore

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
EventRow = st.tuples(
    st.sampled_from([UPLOAD, DELETE, EDIT, BLOCK, UNBLOCK, ADJUST]),
    st.sampled_from([-1, int(WORKS[0]), int(WORKS[3]), *NEW]),
    st.sampled_from([3, 5, 9]),
    st.integers(-2, 3),
    st.integers(0, 5),
    st.sampled_from(TEXTS),
)
"""(kind, item, creator, moments after START, number, text)"""
EventRows = st.lists(EventRow, max_size=14)


def no_number(column: str, text: str) -> int:
    return -1


def accept(columns: object, item: int) -> str:
    return ""


def to_events(rows: list[tuple[int, int, int, int, int, str]]) -> Events:
    rows = [row for row in rows if row[1] >= 0 or row[0] in (BLOCK, UNBLOCK)]
    columns = [np.array([row[column] for row in rows], np.int64) for column in range(5)]
    kind, item, creator, after, number = columns
    return Events.from_columns(
        kind.astype(np.uint8),
        source=np.ones(len(rows), np.int64),
        number=number,
        time_ms=START + after,
        logged_ms=np.full(len(rows), START + 10),
        item_id=item,
        creator_id=creator,
        text=np.array([row[5] for row in rows], object),
    )


def lifecycle_in_store(events: Events, cuts: list[int]) -> ItemLifecycle:
    store = SqliteStore(None)
    applier = EventApplier(StoreContents(BASE, HEAD))
    batches = np.split(np.arange(len(events)), sorted(cut % (len(events) + 1) for cut in cuts))
    for n, rows in enumerate(batches):
        batch = events.take(rows)
        # Each event has an id of its own, repeats too: the lifecycle must not need their removal.
        batch.source[:] = 1000 * n + np.arange(len(batch))
        store.append(batch, applier)
    entries = store.snapshot([records.WORK_LIFE, records.CREATOR_BLOCK])[1]
    return ItemLifecycle.from_entries(dict(entries), Counter())


def no_changes(base: Snapshot = BASE) -> ChangedItems:
    return ChangedItems.empty(base, len(HEAD.labels) + 1)


def items_after(*updates: ItemLifecycle) -> ChangedItems:
    item_changes = ItemChanges(BASE, no_number, accept)
    for lifecycle in updates:
        item_changes.update(lifecycle)
    return item_changes.apply_to(no_changes())


def content_of(items: ChangedItems) -> tuple[object, ...]:
    table = items.updates.works
    order = np.argsort(table.ids)
    columns = {name: column[order].tolist() for name, column in table.columns.items()}
    return items.hidden_ids.tolist(), table.ids[order].tolist(), columns


def content_of_update(item_changes: ItemChanges, update: IndexUpdate) -> tuple[object, ...]:
    """The content of an index update, without the order of its rows."""
    ids = item_changes.apply_to(no_changes(item_changes.base)).updates.works.ids[update.rows]
    moments = dict(zip(ids.tolist(), update.time_ms.tolist(), strict=True))
    hidden, restored = update.hidden_ids.tolist(), update.restored_ids.tolist()
    return moments, hidden, restored, update.platform_ids, update.adjustments


@given(rows=EventRows, order=st.randoms(use_true_random=False), cuts=st.lists(st.integers(0, 14), max_size=3))
def test_lifecycle_does_not_depend_on_order_batches_or_repeats(rows, order, cuts):
    events = to_events(rows)
    places = [*range(len(events)), *(order.randrange(len(events)) for _ in range(3 if len(events) else 0))]
    order.shuffle(places)
    expected = lifecycle_in_store(events, [])
    assert lifecycle_in_store(events.take(np.array(places, int)), cuts) == expected
    halves = np.array(places[: len(places) // 2], int), np.array(places[len(places) // 2 :], int)
    lifecycle, updates = ItemLifecycle(), []
    for half in halves:
        newer = lifecycle.apply(events.take(half), Counter())
        updates.append(newer)
        lifecycle = ItemLifecycle(
            {**lifecycle.items, **newer.items}, {**lifecycle.creator_blocks, **newer.creator_blocks}
        )
    assert lifecycle == expected
    assert content_of(items_after(*updates)) == content_of(items_after(expected))


@given(rows=EventRows)
def test_item_is_hidden_by_the_newest_deletion_or_block(rows):
    """The newest event of each pair decides: deleted, blocked, creator blocked."""
    events = to_events(rows)
    lifecycle = lifecycle_in_store(events, [])
    items = items_after(lifecycle)

    def newest(kinds: tuple[int, int], matches: Callable[[int], bool]) -> int:
        places = [
            row
            for row in range(len(events))
            if events.kind[row] in kinds and matches(row) and _is_readable(events, row)
        ]
        keys = [
            (events.time_ms[row], events.kind[row] in (DELETE, BLOCK), events.number[row]) for row in places
        ]
        return int(events.kind[places[keys.index(max(keys))]]) if places else -1

    for item in (*WORKS.tolist(), *NEW):
        creator = _creator_of(BASE, lifecycle, item)
        presence = newest((UPLOAD, DELETE), lambda row, item=item: events.item_id[row] == item)
        block = newest((BLOCK, UNBLOCK), lambda row, item=item: events.item_id[row] == item)
        creator_block = newest(
            (BLOCK, UNBLOCK),
            lambda row, creator=creator: events.item_id[row] < 0 and events.creator_id[row] == creator,
        )
        is_creator_blocked = creator_block == BLOCK and (item in WORKS or presence == UPLOAD)
        is_hidden = presence == DELETE or block == BLOCK or is_creator_blocked
        is_updated = _is_edited(lifecycle, item) if item in WORKS else presence == UPLOAD
        assert (item in items.hidden_ids) == is_hidden, item
        assert (item in items.updates.works.ids) == (not is_hidden and is_updated), item


@given(
    rows=EventRows,
    after=st.integers(-2, 4),
    ids=st.sets(st.sampled_from([int(WORKS[0]), int(WORKS[3]), *NEW])),
    creators=st.lists(st.sampled_from([-1, 3, 9]), min_size=4, max_size=4),
    has_same_columns=st.booleans(),
)
def test_item_changes_of_another_base_continue_from_a_state(rows, after, ids, creators, has_same_columns):
    """The other base is earlier or later; it has some uploads and lacks some items of the first."""
    lifecycle = lifecycle_in_store(to_events(rows), [])
    former = ItemChanges(BASE, no_number, accept)
    former.update(lifecycle)
    columns = {
        "creator_id": np.array(creators[: len(ids)], np.int64),
        "count_click": np.zeros(len(ids), np.float32),
    }
    if not has_same_columns:
        columns["song"] = np.zeros(len(ids), np.int32)
    base = replace(BASE, time_ms=START + after, works=Table(np.array(sorted(ids), np.int64), columns))
    continued, updated = ItemChanges(base, no_number, accept), ItemChanges(base, no_number, accept)
    begin, update = continued.begin(former.copy_state()), updated.update(lifecycle)
    none = no_changes(base)
    assert content_of(continued.apply_to(none)) == content_of(updated.apply_to(none))
    uploads = [sorted(item_changes.apply_to(none).uploads.works.ids) for item_changes in (continued, updated)]
    assert uploads[0] == uploads[1]
    assert content_of_update(continued, begin) == content_of_update(updated, update)
    assert (continued.lifecycle, continued.counts) == (updated.lifecycle, updated.counts)
    more = to_events([(DELETE, NEW[0], 3, 9, 9, ""), (UPLOAD, NEW[1], 5, 9, 9, "")])
    newer = ItemLifecycle().apply(more, Counter())
    continued.update(newer), updated.update(newer)
    assert content_of(continued.apply_to(none)) == content_of(updated.apply_to(none))


def test_changed_items_stay_equal_while_rows_are_added_and_removed():
    item_changes = ItemChanges(BASE, no_number, accept)
    items, versions = no_changes(), []
    for n in range(40):
        kind, item = (DELETE, 600 + n // 2) if n % 5 == 4 else (UPLOAD, 600 + n)
        item_changes.update(ItemLifecycle().apply(to_events([(kind, item, 3, 0, n, "")]), Counter()))
        items = item_changes.apply_to(items)
        versions.append((items, content_of(items)))
    for version, content in versions:
        assert content_of(version) == content


@pytest.mark.parametrize("ids", [(), (501,)], ids=["upload is new", "upload is in the base"])
def test_block_of_a_creator_hides_uploads_if_the_base_has_no_creators(ids):
    works = Table(np.array(ids, np.int64), {"count_click": np.zeros(len(ids), np.float32)})
    base = replace(BASE, time_ms=START + 5, works=works)
    uploads = ItemLifecycle().apply(
        to_events([(UPLOAD, 501, 3, 0, 0, ""), (UPLOAD, 502, 9, 0, 1, "")]), Counter()
    )
    block = ItemLifecycle().apply(to_events([(BLOCK, -1, 3, 6, 2, "")]), Counter())
    updated, begun = ItemChanges(base, no_number, accept), ItemChanges(base, no_number, accept)
    updated.update(uploads), updated.update(block)
    begun.begin(updated.copy_state())
    for item_changes in (updated, begun):
        items = item_changes.apply_to(no_changes(base))
        assert items.hidden_ids.tolist() == [501] and items.uploads.works.ids.tolist() == [502]
    unblock = ItemLifecycle().apply(to_events([(UNBLOCK, -1, 3, 7, 3, "")]), Counter())
    begun.update(unblock)
    items = begun.apply_to(no_changes(base))
    assert not len(items.hidden_ids) and {*items.uploads.works.ids.tolist(), *ids} == {501, 502}


def test_event_with_unreadable_text_is_counted_and_skipped():
    events = to_events(
        [(UPLOAD, 501, 3, 0, 0, "{"), (EDIT, 501, 3, 0, 1, '{"a": [[1]]}'), (UPLOAD, 502, 3, 0, 2, "")]
    )
    events.source[:] = np.arange(len(events))
    store, applier = SqliteStore(None), EventApplier(StoreContents(BASE, HEAD))
    store.append(events, applier)
    assert (applier.counts["lifecycle"], applier.counts["unreadable text"]) == (3, 2)
    items = items_after(ItemLifecycle.from_entries(dict(store.snapshot([records.WORK_LIFE])[1]), Counter()))
    assert items.updates.works.ids.tolist() == [502]


def _is_edited(lifecycle: ItemLifecycle, item: int) -> bool:
    return bool(lifecycle.items.get(item, ItemLife()).values(BASE.time_ms))


def _is_readable(events: Events, row: int) -> bool:
    return events.kind[row] != UPLOAD or events.text[row] not in ("[1]", "{")


def _creator_of(base: Snapshot, lifecycle: ItemLifecycle, item: int) -> int:
    row = int(base.works.lookup(np.array([item]))[0])
    values = lifecycle.items.get(item, ItemLife()).values(base.time_ms if row >= 0 else -(1 << 63))
    if "creator_id" in values:
        return values["creator_id"] if values["creator_id"] is not None else -1
    return -1 if row < 0 else int(base.works["creator_id"][row])
