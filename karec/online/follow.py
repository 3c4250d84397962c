"""Follows the event log after a base: applies events to the online store and to the changed items."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np

from karec.aggregates.events import Events
from karec.aggregates.located_events import AGGREGATED_KINDS
from karec.errors import KarecError, Unavailable, one_line
from karec.online.apply_events import MAX_BATCH_EVENTS, EventApplier
from karec.online.changed_items import ChangedItems, IndexUpdate
from karec.online.event_log.tail import Cursor, EventTail
from karec.online.items_since import ItemsSince, ItemsState
from karec.online.lifecycle import ItemLifecycle, select_lifecycle_events
from karec.online.read_state import StateReader
from karec.online.recovery import can_be_rebuilt, lacks_events, rebuild
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.store import Conflict, StateStore
from karec.online.view import OnlineView
from karec.pipeline.deadline import TimedCalls

MAX_PENDING_BATCHES = 50  # not yet in the store; later events wait in the log
COUNTER_BATCH = 10_000  # items
NOT_READY = "the state store could not be read yet"

_log = logging.getLogger("karec.live")

FollowerState = tuple[ItemsState, Cursor]
"""Items, and the position in the log up to which they are updated."""
UpdateIndex = Callable[[ChangedItems, IndexUpdate], None]
"""Applies an update to the indices that requests search."""


class Follower:
    """Events since the base of ``contents``. One thread follows at a time; any number poll and take views.

    ``follow`` reads the log, applies lifecycle events to the index and folds the other events into ``store``.
    Other processes may do the same: each event counts once. ``state``: that of another base's follower, from
    which this one continues. ``view`` costs one read of the store, at most ``deadline_ms`` and on another
    thread. None: on the caller's thread, for a store in this machine's memory or files. The user's values
    are those of this read, the items' values those of the last followed batch.
    """

    def __init__(
        self,
        store: StateStore,
        contents: StoreContents,
        log: Path,
        items_since: ItemsSince,
        update_index: UpdateIndex,
        deadline_ms: float | None,
        state: FollowerState | None = None,
    ) -> None:
        self._store = store
        self._contents = contents
        self._log = log
        self._items_since = items_since
        self._update_index = update_index
        self._state = state
        self._timed_calls = None if deadline_ms is None else TimedCalls("the state store", deadline_ms)
        self._items = ChangedItems.empty(contents.base, len(contents.counters))
        self._reader: StateReader | None = None
        self._pending: deque[tuple[Events, Cursor]] = deque()
        self._counts: Counter[str] = Counter()
        self._failure: str | None = None  # why the store has not taken the newest events
        self._polling = Lock()  # guards the tail, ``_items_since`` and the index
        self._replacing = Lock()  # guards ``_items``, which ``poll`` and ``_fold`` replace

    @property
    def counts(self) -> Counter[str]:
        """Events by outcome: ``EventApplier.counts``, ``ItemsSince.counts`` and failures."""
        counts = Counter() if self._reader is None else self._applier.counts + self._reader.counts
        return counts + self._counts + self._items_since.counts

    @property
    def is_ready(self) -> bool:
        """True once the store was read. Before that the changed items are unknown."""
        return self._reader is not None

    @property
    def items(self) -> ChangedItems:
        """Items as of the last followed batch."""
        return self._items

    def lag(self) -> tuple[int, int]:
        """Returns (number of events read but not in the store, when the oldest was appended in Unix ms or 0).

        The number is a lower bound: at MAX_PENDING_BATCHES, more may wait in the log.
        """
        pending = [events for events, _ in list(self._pending)]
        oldest_ms = min((int(events.logged_ms.min()) for events in pending if len(events)), default=0)
        return sum(map(len, pending)), oldest_ms

    def copy_state(self) -> FollowerState | None:
        """Returns the state for a follower of another base on this log and store; None if not ready."""
        with self._polling:
            return (self._items_since.copy_state(), self._tail.cursor) if self.is_ready else None

    def view(self, user_id: int) -> tuple[OnlineView, str | None]:
        """Returns the values of ``user_id`` and of items, and the reason if they are not up to date."""
        reader, items, names = self._reader, self._items, self._contents.counters
        if reader is None:
            return OnlineView(None, items, names), NOT_READY
        try:
            if self._timed_calls:
                user = self._timed_calls.start(lambda: reader.read_user(user_id)).result()
            else:
                user = reader.read_user(user_id)
        except Unavailable as error:
            self._counts["reads that failed"] += 1
            return OnlineView(None, items, names), str(error)
        return OnlineView(user, items, names), self._failure

    def follow(self) -> int:
        """Reads the log to its end and returns how many events the store took.

        Raises Unavailable if the store is gone. The other events wait for the next call.
        """
        try:
            n = self._follow()
        except Exception as error:
            self._failure = str(error)
            raise
        self._failure = None
        return n

    def _follow(self) -> int:
        if self._reader is None:
            self._begin()
        self.poll()
        n = 0
        while self._pending:
            events, cursor = self._pending[0]
            self._fold(events, cursor)
            self._pending.popleft()
            n += len(events)
        return n

    def poll(self) -> None:
        """Reads the log and applies lifecycle events to the index, without the store."""
        with self._polling:
            while self._reader and len(self._pending) < MAX_PENDING_BATCHES:
                events = self._tail.poll(MAX_BATCH_EVENTS)
                if not len(events):
                    return
                self._pending.append((events, self._tail.cursor))
                lifecycle_events = select_lifecycle_events(events)
                if len(lifecycle_events):  # They are applied again when the store has them, without effect.
                    newer = self._items_since.lifecycle.apply(lifecycle_events, Counter())
                    self._apply_update(self._items_since.update(newer))

    def _begin(self) -> None:
        """Reads the store's items, after the store has taken the whole log."""
        self._rebuild_if_events_are_missing()
        self._applier, self._tail = self._catch_up(Counter())
        reader = StateReader(self._store, self._contents)
        if self._state is None:
            lifecycle = ItemLifecycle.from_store(self._store, self._counts)
            items_state = ItemsState.from_lifecycle(lifecycle, self._contents.base)
        else:  # Events after this cursor are read again; none has an effect twice.
            items_state, cursor = self._state
            self._tail = EventTail(self._log, cursor)
        self._apply_update(self._items_since.begin(items_state))
        letter = records.WORK_COUNTERS
        keys = [key for key, _ in self._store.scan(letter, bytes([letter[0] + 1]))]
        ids = np.array(sorted(map(records.id_of, keys)), np.int64)
        for begin in range(0, len(ids), COUNTER_BATCH):
            batch = ids[begin : begin + COUNTER_BATCH]
            self._items = self._items.with_counters(batch, reader.read_item_counters(batch))
        reader.read_user(-1).has_seen(ids[:1])  # Compiles it, so that no request waits for the compiler.
        self._reader, self._state = reader, None

    def _rebuild_if_events_are_missing(self) -> None:
        """Rebuilds the store if an older bundle was restored. Not repeated after each Conflict: processes may
        still serve the later bundle.
        """
        if not lacks_events(self._store, self._contents.base):
            return
        message = "online store: events after the bundle's moment are missing"
        if not can_be_rebuilt(self._store, self._log):
            _log.warning("%s, and their hours were retired from the log", message)
            return
        _log.warning("%s; rebuilding it from the log", message)
        try:
            rebuild(self._store, self._contents, self._log)
        except Conflict:
            _log.warning(
                "online store still misses events: another process is writing to it; restart this process "
                "later"
            )

    def _catch_up(self, counts: Counter[str]) -> tuple[EventApplier, EventTail]:
        """Returns a writer whose store has taken the whole log.

        If Unavailable is raised, the store may have taken a part; only a writer that begins at the store's
        cursor can continue.
        """
        while True:
            applier = EventApplier(self._store, self._contents, counts)
            tail = EventTail(self._log, applier.cursor)
            try:
                while applier.follow(tail):
                    pass
            except Conflict:  # Another process was faster; continue after its commit.
                continue
            return applier, tail

    def _fold(self, events: Events, cursor: Cursor) -> None:
        if not self._applier.cursor.covers(cursor):
            try:
                self._applier.apply(events, cursor.joined(self._applier.cursor))
            except Conflict:  # of another process, or the store came back with older contents
                self._applier, _ = self._catch_up(self._applier.counts)
        is_counted = np.isin(events.kind, AGGREGATED_KINDS) & (events.item_id >= 0)
        ids = np.unique(events.item_id[is_counted])
        if len(ids) and self._reader is not None:
            counters = self._reader.read_item_counters(ids)
            with self._replacing:
                self._items = self._items.with_counters(ids, counters)

    def reapply_edits(self) -> None:
        """Upserts the edited items of the base again, for when others have written the base's vectors."""
        with self._polling:
            update = self._items_since.edits()
            if len(update.rows):
                self._put(update)

    def _apply_update(self, update: IndexUpdate) -> None:
        with self._replacing:  # before the index: a request pins the index first and finds no unknown item
            self._items = self._items_since.apply_to(self._items)
        self._put(update)

    def _put(self, update: IndexUpdate) -> None:
        try:
            self._update_index(self._items, update)
        except (KarecError, ValueError) as error:  # of a tower or an index; the former rows stay in service
            self._counts["works that could not be put in"] += len(update.rows)
            _log.warning("%s", one_line(f"{len(update.rows)} items are not in the index: {error}"))
