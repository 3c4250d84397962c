"""Follows the online store after a base: items are kept in memory, a user is read for each request."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from threading import Lock

import numpy as np

from karec.aggregates.events import WORK, Events
from karec.errors import Unavailable, one_line
from karec.online.changed_items import ChangedItems
from karec.online.followed_items import FollowedItems
from karec.online.item_changes import ItemsState
from karec.online.item_counters import MAX_POLL_EVENTS, add_counters, counter_letters, sum_counters
from karec.online.lifecycle import ItemLifecycle
from karec.online.read_state import StateReader, UserState
from karec.online.session import Sessions
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import ERASURE, Cursor, OnlineStore, StaleCursor, StoredEvents
from karec.online.view import OnlineView
from karec.pipeline.deadline import TimedCalls

NOT_READY = "the online store was not read yet"

_log = logging.getLogger("karec.online")


@dataclass(frozen=True, eq=False)
class FollowerState:
    """State of one follower, for the follower of another base.

    ``items_states`` and ``items``, which has the counters: by item type. ``description`` is that of the
    contents. ``erasure``: the document ERASURE.
    """

    items_states: Mapping[str, ItemsState]
    items: Mapping[str, ChangedItems]
    cursor: Cursor
    description: bytes
    erasure: bytes | None


class Follower:
    """Follower of one store for the base of ``contents``. Any thread may call.

    ``poll`` reads new events, applies lifecycle events to the indices and adds the counted events to the
    counters of items. ``view`` reads the state of a user and returns the values of items as of the last poll.

    followed     the items of each type, works first
    deadline_ms  maximum time of a read, which runs on another thread; None: no limit, on the caller's thread
    state        the state of another base's follower; this one continues from it without reading the store
    sessions     reads the events that requests bring along; None: requests have none
    """

    def __init__(
        self,
        store: OnlineStore,
        followed: Sequence[FollowedItems],
        deadline_ms: float | None,
        state: FollowerState | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self.sessions = sessions
        self._store = store
        self._followed = {one.contents.item_type: one for one in followed}
        self._works = self._followed[WORK]
        self._contents = self._works.contents
        self._state = state
        self._timed_calls = None if deadline_ms is None else TimedCalls("the online store", deadline_ms)
        self._reader = StateReader(store, self._contents)
        self._cursor: Cursor | None = None  # None until the store was read
        self._erasure: bytes | None = None  # the document ERASURE before the last read of the state
        self._counts: Counter[str] = Counter()
        self._failure: str | None = None  # why the newest events are unknown
        self._polled_at_s = time.monotonic()
        self._polling = Lock()  # guards the cursor and the writes to ``_followed``

    @property
    def counts(self) -> Counter[str]:
        """Numbers of failed reads, of corrupt entries, and ``ItemChanges.counts``."""
        of_items = (
            count for one in self._followed.values() for count in (one.counts, one.item_changes.counts)
        )
        return sum(of_items, self._reader.counts + self._counts)

    @property
    def is_ready(self) -> bool:
        """True once the store was read. Before that the lifecycle of items is unknown."""
        return self._cursor is not None

    @property
    def items(self) -> ChangedItems:
        """Works as of the last poll."""
        return self._works.items

    def lag_s(self) -> float:
        """Returns the seconds since the store was last read to its end."""
        return time.monotonic() - self._polled_at_s

    def copy_state(self) -> FollowerState | None:
        """Returns the state for a follower of another base on this store; None if not ready."""
        with self._polling:
            if self._cursor is None:
                return None
            states = {name: one.item_changes.copy_state() for name, one in self._followed.items()}
            items = {name: one.items for name, one in self._followed.items()}
            return FollowerState(states, items, self._cursor, self._contents.description, self._erasure)

    def view(
        self, user_id: int, item_type: str = WORK, session: Events | None = None
    ) -> tuple[OnlineView, str | None]:
        """Returns the values of ``user_id`` and of the items of a type, and the reason if they are not up to
        date.

        ``session``: events of the user, of ``sessions.parse``, that act on top of the stored ones.
        """
        names = {WORK, item_type}
        followed = [one for name, one in self._followed.items() if name in names]
        items, contents = [one.items for one in followed], [one.contents for one in followed]
        if not self.is_ready:
            return self._view([None] * len(items), items, contents), NOT_READY

        def read() -> list[UserState]:
            entries: Mapping[bytes, bytes | None] = {}
            if session is not None and self.sessions is not None:
                entries = self.sessions.entries_after(session, user_id)
            return self._reader.read_states(user_id, contents, entries)

        try:
            users = self._timed_calls.start(read).result() if self._timed_calls else read()
        except Unavailable as error:
            self._counts["failed reads"] += 1
            return self._view([None] * len(items), items, contents), str(error)
        return self._view(users, items, contents), self._failure

    def _view(
        self,
        users: Sequence[UserState | None],
        items: Sequence[ChangedItems],
        contents: Sequence[StoreContents],
    ) -> OnlineView:
        """Returns the view of the last item type; the first one is that of works."""
        names = self._contents.counters
        views = [
            OnlineView(user, changed, names, one.recent_counters)
            for user, changed, one in zip(users, items, contents, strict=True)
        ]
        return replace(views[-1], works=None if len(views) == 1 else views[0])

    def poll(self) -> int:
        """Reads the store to its end. Returns the number of new events.

        Raises Unavailable if the store cannot be reached, and DataError if it has other labels or scenes.
        """
        with self._polling:
            for one in self._followed.values():
                one.close_ended()
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
            self._works.reapply_edits()

    def _poll_to_end(self) -> int:
        if self._cursor is None:
            self._cursor = self._begin()
        erasure = self._store.read_document(ERASURE)
        if erasure != self._erasure or self.lag_s() * 1e3 > self._contents.head.late_ms:
            # Meanwhile an export may have deleted events that this process has not read.
            self._cursor = self._read_snapshot(is_first=False)
        self._erasure = erasure
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
        """Reads or takes over the state of items and ``_erasure``. Returns the cursor. Taking over does not
        read the store, which may be away."""
        state, self._state = self._state, None
        is_usable = state is not None and state.description == self._contents.description
        if state is not None and is_usable and state.items_states.keys() >= self._followed.keys():
            for name, one in self._followed.items():
                items = state.items[name]
                one.items = one.items.replace_counters(items.counter_ids, items.counters, items.recent)
                one.begin(state.items_states[name])
            self._erasure = state.erasure
            return state.cursor
        self._contents.check(self._store)
        self._erasure = self._store.read_document(ERASURE)
        cursor = self._read_snapshot(is_first=True)
        # Compiles it, so that no request waits for the compiler.
        self._reader.read_user(-1).has_seen(np.zeros(1, np.int64))
        return cursor

    def _read_snapshot(self, *, is_first: bool) -> Cursor:
        letters = {
            one: (one.contents.letter(records.WORK_LIFE), *counter_letters(one.contents))
            for one in self._followed.values()
        }
        all_letters = (records.CREATOR_BLOCK, *chain.from_iterable(letters.values()))
        cursor, entries = self._store.snapshot(all_letters)
        entries_by_letter = defaultdict[bytes, list[tuple[bytes, bytes]]](list)
        for key, value in entries:
            entries_by_letter[records.letter_of(key)].append((key, value))
        for one, (life_letter, *own_letters) in letters.items():
            counter_entries = [entry for letter in own_letters for entry in entries_by_letter[letter]]
            one.items = sum_counters(one.items, counter_entries, one.contents, self._counts)
            own_entries = [*entries_by_letter[life_letter], *entries_by_letter[records.CREATOR_BLOCK]]
            lifecycle = ItemLifecycle.from_entries(dict(own_entries), self._counts)
            if is_first:
                one.begin(ItemsState.from_lifecycle(lifecycle, one.contents.base))
            else:
                known = one.item_changes.lifecycle.items
                one.update(replace(lifecycle, items=lifecycle.items_other_than(known)))
        return cursor

    def _apply(self, stored: StoredEvents) -> None:
        for one in self._followed.values():
            one.items = add_counters(one.items, stored.events, stored.is_counted, self._store, one.contents)
            one.apply(stored.events)
