"""Appends reported events to the event log and follows the log into the online store."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from karec.aggregates.events import Events, Head
from karec.catalog import schema
from karec.catalog.snapshot import Snapshot
from karec.errors import Unavailable, one_line
from karec.online.event_log.append import EventLogWriter
from karec.online.event_log.head import begin_log, is_event_log, read_head
from karec.online.follow import Follower, UpdateIndex
from karec.online.items_since import ItemsSince, NumberOf, Refuse
from karec.online.poll import Poller
from karec.online.reported import UNWRITTEN, Acknowledged, EventParser, exposed_of
from karec.online.store.contents import StoreContents
from karec.online.store.reopen import ReopeningStore
from karec.pipeline.deadline import TimedCalls

POLL_PERIOD_S = 0.1  # for events that other processes appended

_log = logging.getLogger("karec.live")


@dataclass(frozen=True, eq=False)
class OnlineBase:
    """The online store as requests of one bundle read it, and the parser of events for this bundle."""

    follower: Follower
    parser: EventParser


class Ingestion:
    """One event log and one online store for all bundles that a process serves, one after another.

    A lock orders ``record`` and the thread that polls the log. Requests never wait for either. If the store
    is on a server, ``record`` waits at most ``deadline_ms`` for it; the log keeps what the store has not
    taken.
    """

    def __init__(
        self,
        log: Path,
        snapshot: Snapshot,
        store_address: str,
        *,
        refuse: Refuse,
        deadline_ms: float | None = None,
    ) -> None:
        """``refuse`` returns why an upload is not taken. ``deadline_ms``: None for a store in memory or in
        files."""
        self._refuse = refuse
        self._deadline_ms = deadline_ms
        self._log_folder = log
        self.head = open_log(log, snapshot)
        self._store = ReopeningStore(store_address)
        self._writer: EventLogWriter | None = None
        self._online: OnlineBase | None = None
        self._writing = Lock()
        self._following = Lock()
        self._timed_calls = None if deadline_ms is None else TimedCalls("the state store", deadline_ms)
        self._failure = ""
        self._poller = Poller(self, Ingestion.poll, POLL_PERIOD_S, "karec-follow")

    def bind(
        self, base: Snapshot, number_of: NumberOf, update_index: UpdateIndex, parser: EventParser
    ) -> OnlineBase:
        """Returns the online store as of now for the bundle of ``base``.

        ``number_of`` gives the number of a text in a column, ``update_index`` writes items to the index.

        Raises DataError if the store has other labels or scenes. Raises Unavailable if the store cannot be
        read although another bundle is served with it: items that it blocked would be shown again. A first
        bundle does not wait for the store.
        """
        contents = StoreContents(base, self.head)
        state = None if self._online is None else self._online.follower.copy_state()
        items = ItemsSince(base, number_of, self._refuse)
        follower = Follower(
            self._store, contents, self._log_folder, items, update_index, self._deadline_ms, state
        )
        with self._following:
            try:
                follower.follow()
            except (Unavailable, OSError) as error:
                self._warn(error)
                if not follower.is_ready and self._online is not None and self._online.follower.is_ready:
                    raise Unavailable(f"the state store cannot say what became of works: {error}") from error
        return OnlineBase(follower, parser)

    def follow(self, online: OnlineBase) -> None:
        """Makes ``record`` and the polling thread follow the log for ``online``."""
        with self._following:
            self._online = online
            self._follow(online.follower)
        self._poller.start()

    def record(self, events: Events | Iterable[Mapping[str, Any]], now_ms: int | None) -> Acknowledged:
        """Appends ``events`` to the log; ``now_ms`` is None for the clock's time."""
        online = self._current()
        if now_ms is not None and not isinstance(now_ms, int | np.integer):
            raise ValueError(f"now_ms is {now_ms!r}, expected Unix milliseconds, a whole number")
        moment = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        if isinstance(events, Events):
            refused = Counter[str]()
        else:
            events, refused = online.parser.events(events, moment)
        with self._writing:
            self._current()
            try:
                if self._writer is None:
                    self._writer = EventLogWriter(self._log_folder, self.head)
                appended = self._writer.append(events, now_ms)
            except OSError as error:
                _log.warning("%s", one_line(f"{self._log_folder}: events were not logged: {error}"))
                return Acknowledged(0, {**refused, UNWRITTEN: len(events)}, str(error))
        logged = replace(events, logged_ms=np.full(len(events), moment, np.int64))
        exposed = exposed_of(logged, self.head, not appended.refused)
        refused += Counter(appended.refused)
        return Acknowledged(appended.events, dict(refused), self._follow_append(), exposed)

    def poll(self) -> None:
        """Follows what other processes appended to the log."""
        with self._following:
            if self._online is not None:
                self._follow(self._online.follower)

    def close(self) -> None:
        """Seals the log part that this process wrote and closes the store. A second call does nothing."""
        self._poller.stop()
        with self._writing, self._following:
            if self._writer is not None:
                self._writer.close()
            self._writer = None
            self._online = None
            self._store.close()

    def _current(self) -> OnlineBase:
        if self._online is None:
            raise ValueError("this Ingestion is closed")
        return self._online

    def _follow_append(self) -> str | None:
        """Follows after an append. Returns why the store has not taken all events; None if it has."""
        if self._timed_calls is None:
            return self._follow_or_reason()
        try:
            self._current().follower.poll()  # needs no store
        except Exception as error:  # as in _follow
            self._warn(error)
        try:
            return self._timed_calls.start(self._follow_or_reason).result()
        except Unavailable as error:
            return str(error)

    def _follow_or_reason(self) -> str | None:
        with self._following:
            self._follow(self._current().follower, retry=False)
            return self._failure or None

    def _follow(self, follower: Follower, retry: bool = True) -> None:
        """Follows the log into the store.

        ``retry``: tries a store that failed the last time again, which may take as long as its timeouts.
        """
        try:
            if self._failure and not retry:
                follower.poll()
                return
            follower.follow()
        except Exception as error:  # the log keeps the events, and the polling thread must survive
            self._warn(error)
        else:
            self._failure = ""

    def _warn(self, error: Exception) -> None:
        if str(error) != self._failure:
            _log.warning("%s", one_line(f"events are in the log and wait for the state store: {error}"))
        self._failure = str(error)


def open_log(folder: Path, snapshot: Snapshot) -> Head:
    """Returns the head of the log in ``folder``. Begins the log if there is none."""
    if not is_event_log(folder):
        begin_log(folder, head_of(snapshot))
    return read_head(folder)


def head_of(snapshot: Snapshot) -> Head:
    """Returns the head of a new log: the labels that the platform counts or interprets, and its scenes."""
    meaning = snapshot.meaning
    columns = [*snapshot.users.columns, *snapshot.works.columns, *(snapshot.user_scene_counters or ())]
    counted = [name.removeprefix(schema.counter("")) for name in columns if schema.is_counter(name)]
    labels = dict.fromkeys((*meaning.enjoyed, *meaning.liked, *meaning.followed, *counted))
    labels.pop(schema.EXPOSED.removeprefix(schema.counter("")), None)
    return Head(tuple(labels), tuple(snapshot.labels.get("scene", ())))
