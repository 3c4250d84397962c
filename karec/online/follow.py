"""Follows the online store after a base: items are kept in memory, a user is read for each request."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import numpy as np

from karec.errors import Unavailable, one_line
from karec.online.changed_items import ChangedItems, IndexUpdate
from karec.online.item_changes import ItemChanges, ItemsState
from karec.online.item_counters import COUNTER_LETTERS, MAX_POLL_EVENTS, add_counters, sum_counters
from karec.online.lifecycle import ItemLifecycle, select_lifecycle_events
from karec.online.read_state import StateReader
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import Cursor, OnlineStore, StaleCursor, StoredEvents
from karec.online.view import OnlineView
from karec.pipeline.deadline import TimedCalls

LIFECYCLE_LETTERS = (records.WORK_LIFE, records.CREATOR_BLOCK)
NOT_READY = "the online store was not read yet"

_log = logging.getLogger("karec.online")

UpdateIndex = Callable[[ChangedItems, IndexUpdate], None]
"""Applies an update to the indices that requests search."""


@dataclass(frozen=True, eq=False)
class FollowerState:
    """State of one follower, for the follower of another base.

    ``items`` has the counters of items. ``description`` is that of the contents.
    """

    items_state: ItemsState
    items: ChangedItems
    cursor: Cursor
    description: bytes


class Follower:
    """Follower of one store for the base of ``contents``. Any thread may call.

    ``poll`` reads new events, applies lifecycle events to the index and adds the counted events to the
    counters of items. ``view`` reads the state of a user and returns the values of items as of the last poll.

    deadline_ms  maximum time of a read, which runs on another thread; None: no limit, on the caller's thread
    state        the state of another base's follower; this one continues from it without reading the store
    """

    def __init__(
        self,
        store: OnlineStore,
        contents: StoreContents,
        item_changes: ItemChanges,
        update_index: UpdateIndex,
        deadline_ms: float | None,
        state: FollowerState | None = None,
    ) -> None:
        self._store = store
        self._contents = contents
        self._item_changes = item_changes
        self._update_index = update_index
        self._state = state
        self._timed_calls = None if deadline_ms is None else TimedCalls("the online store", deadline_ms)
        self._items = ChangedItems.empty(contents.base, len(contents.counters))
        self._reader = StateReader(store, contents)
        self._cursor: Cursor | None = None  # None until the store was read
        self._counts: Counter[str] = Counter()
        self._failure: str | None = None  # why the newest events are unknown
        self._polled_at_s = time.monotonic()
        self._polling = Lock()  # guards the cursor, ``_item_changes``, ``_items`` and the index

    @property
    def counts(self) -> Counter[str]:
        """Numbers of failed reads, of corrupt entries, and ``ItemChanges.counts``."""
        return self._reader.counts + self._counts + self._item_changes.counts

    @property
    def is_ready(self) -> bool:
        """True once the store was read. Before that the lifecycle of items is unknown."""
        return self._cursor is not None

    @property
    def items(self) -> ChangedItems:
        """Items as of the last poll."""
        return self._items

    def lag_s(self) -> float:
        """Returns the seconds since the store was last read to its end."""
        return time.monotonic() - self._polled_at_s

    def copy_state(self) -> FollowerState | None:
        """Returns the state for a follower of another base on this store; None if not ready."""
        with self._polling:
            if self._cursor is None:
                return None
            return FollowerState(
                self._item_changes.copy_state(), self._items, self._cursor, self._contents.description
            )

    def view(self, user_id: int) -> tuple[OnlineView, str | None]:
        """Returns the values of ``user_id`` and of items, and the reason if they are not up to date."""
        items, names = self._items, self._contents.counters
        if not self.is_ready:
            return OnlineView(None, items, names), NOT_READY
        try:
            if self._timed_calls:
                user = self._timed_calls.start(lambda: self._reader.read_user(user_id)).result()
            else:
                user = self._reader.read_user(user_id)
        except Unavailable as error:
            self._counts["failed reads"] += 1
            return OnlineView(None, items, names), str(error)
        return OnlineView(user, items, names), self._failure

    def poll(self) -> int:
        """Reads the store to its end. Returns the number of new events.

        Raises Unavailable if the store cannot be reached, and DataError if it has other labels or scenes.
        """
        with self._polling:
            try:
                n_events = self._poll_to_end()
            except Exception as error:
                self._failure = str(error)
                raise
            self._failure = None
            self._polled_at_s = time.monotonic()
            return n_events

    def reapply_edits(self) -> None:
        """Upserts the edited items of the base again. Call it after the base's vectors were written."""
        with self._polling:
            update = self._item_changes.edits()
            if len(update.rows):
                self._put(update)

    def _poll_to_end(self) -> int:
        if self._cursor is None:
            self._cursor = self._begin()
        elif self.lag_s() * 1e3 > self._contents.head.late_ms:
            # Meanwhile an export may have deleted events that this process has not read.
            self._cursor = self._read_snapshot(is_first=False)
        n_events = 0
        while True:
            try:
                stored = self._store.poll(self._cursor, MAX_POLL_EVENTS)
            except StaleCursor as error:
                _log.warning("%s", one_line(f"the state of items is read again: {error}"))
                self._cursor = self._read_snapshot(is_first=False)
                continue
            self._apply(stored)
            self._cursor = stored.cursor
            if not len(stored.events):
                return n_events
            n_events += len(stored.events)

    def _begin(self) -> Cursor:
        """Reads or takes over the state of items. Returns its cursor."""
        state, self._state = self._state, None
        if state is not None and state.description == self._contents.description:
            items = self._items.replace_counters(state.items.counter_ids, state.items.counters)
            self._apply_update(items, self._item_changes.begin(state.items_state))
            return state.cursor
        self._contents.check(self._store)
        cursor = self._read_snapshot(is_first=True)
        # Compiles it, so that no request waits for the compiler.
        self._reader.read_user(-1).has_seen(np.zeros(1, np.int64))
        return cursor

    def _read_snapshot(self, *, is_first: bool) -> Cursor:
        cursor, entries = self._store.snapshot((*LIFECYCLE_LETTERS, *COUNTER_LETTERS))
        lifecycle_entries = dict[bytes, bytes | None]()
        counter_entries = list[tuple[bytes, bytes]]()
        for key, value in entries:
            if key[:1] in LIFECYCLE_LETTERS:
                lifecycle_entries[key] = value
            else:
                counter_entries.append((key, value))
        lifecycle = ItemLifecycle.from_entries(lifecycle_entries, self._counts)
        items = sum_counters(self._items, counter_entries, self._contents, self._counts)
        if is_first:
            update = self._item_changes.begin(ItemsState.from_lifecycle(lifecycle, self._contents.base))
        else:
            update = self._item_changes.update(lifecycle)
        self._apply_update(items, update)
        return cursor

    def _apply(self, stored: StoredEvents) -> None:
        items = add_counters(self._items, stored.events, stored.is_counted, self._store, self._contents)
        lifecycle_events = select_lifecycle_events(stored.events)
        if len(lifecycle_events):
            newer = self._item_changes.lifecycle.apply(lifecycle_events, Counter())
            self._apply_update(items, self._item_changes.update(newer))
        else:
            self._items = items

    def _apply_update(self, items: ChangedItems, update: IndexUpdate) -> None:
        # Before the index: a request pins the index first and finds no unknown item.
        self._items = self._item_changes.apply_to(items)
        self._put(update)

    def _put(self, update: IndexUpdate) -> None:
        try:
            self._update_index(self._items, update)
        except Exception as error:  # of a tower or an index; the former rows stay in service
            self._counts["items not indexed"] += len(update.rows)
            _log.warning("%s", one_line(f"{len(update.rows)} items are not in the index: {error}"))
