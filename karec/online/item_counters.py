"""Counters of items in the online store: the base's plus those of all partitions of the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates import recent
from karec.aggregates.counters import BY_WORK, add_recent
from karec.aggregates.events import Events
from karec.aggregates.located_events import LocatedEvents
from karec.online.changed_items import ChangedItems
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import Cursor, OnlineStore, StaleCursor

MAX_POLL_EVENTS = 20_000


def counter_letters(contents: StoreContents) -> tuple[bytes, ...]:
    """Returns the first bytes of keys: of the counters since the store began, the base's, the recent ones."""
    letters = (records.WORK_COUNTERS, records.BASE_COUNTERS, records.RECENT_COUNTERS)
    return tuple(map(contents.letter, letters))


def sum_counters(
    items: ChangedItems, entries: Sequence[tuple[bytes, bytes]], contents: StoreContents, counts: Counter[str]
) -> ChangedItems:
    """Returns ``items`` with only the counters of ``entries``, a snapshot of ``counter_letters``."""
    counted, base, recents = (
        [entry for entry in entries if records.letter_of(entry[0]) == letter]
        for letter in counter_letters(contents)
    )
    counted_ids, rows = _read_rows(counted, len(contents.counters), np.float64, counts)
    # An erased item of the base has only counters of the base, which are 0.
    ids = np.union1d(counted_ids, np.array([records.id_of(key) for key, _ in base], np.int64))
    state = _base_counters(ids, dict(base), contents)
    np.add.at(state, np.searchsorted(ids, counted_ids), rows)
    recent_ids, recent_rows = _read_rows(recents, items.recent.shape[1], np.int64, counts)
    is_counted = np.isin(recent_ids, ids)
    places = np.searchsorted(ids, recent_ids[is_counted])
    recent_state = recent.empty(len(ids), len(contents.recent_counters))
    return items.replace_counters(ids, state, recent.add(recent_state, places, recent_rows[is_counted]))


def add_counters(
    items: ChangedItems, events: Events, is_counted: NDArray[Any], store: OnlineStore, contents: StoreContents
) -> ChangedItems:
    """Returns ``items``, those of ``contents``, with the counters after ``events`` of any item types.

    Reads the base's counters of items that were not counted before.
    """
    events = events.take(is_counted & (events.item_id >= 0) & (events.item_type == contents.item_type))
    if not len(events):
        return items
    ids, places = np.unique(events.item_id, return_inverse=True)
    state = np.empty((len(ids), len(contents.counters)))
    recent_state = recent.empty(len(ids), len(contents.recent_counters))
    rows = items.find_counter_rows(ids)
    state[rows >= 0] = items.counters[rows[rows >= 0]]
    recent_state[rows >= 0] = items.recent[rows[rows >= 0]]
    if (rows < 0).any():
        keys = records.keys_of(contents.letter(records.BASE_COUNTERS), ids[rows < 0])
        values = store.read_items(keys)
        base = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
        state[rows < 0] = _base_counters(ids[rows < 0], base, contents)
    known = contents.base.works.lookup(ids)[places]
    users = np.zeros(len(events), np.int64)
    located = LocatedEvents.from_rows(contents.base, contents.head, events, users, places, known)
    BY_WORK.step_all(state, located, contents.counters)
    return items.with_counters(ids, state, add_recent(recent_state, located, contents.recent_counters))


def _read_rows(
    entries: Sequence[tuple[bytes, bytes]], width: int, dtype: type, counts: Counter[str]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (ids (E,), rows (E, width)) of the entries that are whole; counts the others."""
    unpacked = records.unpack([key for key, _ in entries], [value for _, value in entries], width, dtype)
    counts["corrupt entries"] += unpacked.corrupt
    ids = np.array([records.id_of(key) for key, _ in entries], np.int64)
    return np.delete(ids, unpacked.missing), unpacked.rows


class ItemCounters:
    """Counters of the items of ``contents`` in ``store``, as of the last read. One thread may call."""

    def __init__(self, store: OnlineStore, contents: StoreContents) -> None:
        self._store = store
        self._contents = contents
        self._items = ChangedItems.empty(contents.base, len(contents.counters), len(contents.recent_counters))
        self._cursor: Cursor | None = None

    def read(self, item_ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N, C) float32 counters of ``item_ids`` (N,); 0 for unknown items."""
        try:
            self._read_to_end()
        except StaleCursor:
            self._cursor = None
            self._read_to_end()
        state = _base_counters(item_ids, {}, self._contents)
        rows = self._items.find_counter_rows(item_ids)
        state[rows >= 0] = self._items.counters[rows[rows >= 0]]
        return BY_WORK.read(state)

    def _read_to_end(self) -> None:
        if self._cursor is None:
            self._cursor, entries = self._store.snapshot(counter_letters(self._contents))
            self._items = sum_counters(self._items, [*entries], self._contents, Counter())
        while True:
            stored = self._store.poll(self._cursor, MAX_POLL_EVENTS)
            self._items = add_counters(
                self._items, stored.events, stored.is_counted, self._store, self._contents
            )
            self._cursor = stored.cursor
            if not len(stored.events):
                return


def _base_counters(
    ids: NDArray[Any], entries: Mapping[bytes, bytes], contents: StoreContents
) -> NDArray[Any]:
    """Returns (N, C) float64: the stored counters of the base of ``ids``, or those of this base."""
    keys = records.keys_of(contents.letter(records.BASE_COUNTERS), ids)
    values = [entries.get(key) for key in keys]
    unpacked = records.unpack(keys, values, len(contents.counters), np.float64)
    state = BY_WORK.read_snapshot(contents.base, contents.base.works.lookup(ids), contents.counters)
    is_stored = np.ones(len(ids), bool)
    is_stored[unpacked.missing] = False
    state[is_stored] = unpacked.rows
    return state
