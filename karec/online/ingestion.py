"""Stores reported events, and applies the events that other processes stored."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any
from uuid import uuid4

import numpy as np

from karec.aggregates.events import LATE_MS, Events, Head, find_invalid
from karec.catalog import schema
from karec.catalog.schema import LATEST_MS, Meaning
from karec.catalog.snapshot import Snapshot
from karec.errors import KarecError, one_line
from karec.online.apply_events import EventApplier
from karec.online.follow import Follower
from karec.online.followed_items import FollowedItems
from karec.online.item_changes import Refuse
from karec.online.parse_events import Acknowledgement, EventParser
from karec.online.poll import Poller
from karec.online.recovery import back_up_if_due
from karec.online.session import Sessions
from karec.online.store.online_store import OnlineStore
from karec.online.store.sqlite import SqliteStore

POLL_PERIOD_S = 0.1  # for events that other processes stored
BACKUP_CHECK_PERIOD_S = 60.0

_log = logging.getLogger("karec.online")


@dataclass(frozen=True, eq=False)
class OnlineBase:
    """The online store as requests of one bundle read it, and the parser and applier of its events.

    ``arms``: followers for the bundles of arms of experiments.
    """

    follower: Follower
    parser: EventParser
    applier: EventApplier
    arms: tuple[Follower, ...] = ()

    def poll(self) -> None:
        """Reads new events for each bundle, also if this raises what one of the followers raises."""
        with ExitStack() as calls:
            for follower in (self.follower, *self.arms):
                calls.callback(follower.poll)


class Ingestion:
    """One online store for all bundles that a process serves, one after another. Any thread may call.

    Requests wait neither for ``record`` nor for the thread that polls the store.
    """

    def __init__(
        self, store: OnlineStore, head: Head, *, refuse: Refuse, deadline_ms: float | None = None
    ) -> None:
        """
        Args:
            head: labels and scenes of events, and how late they may be.
            refuse: returns the reason why an upload of a work is refused, or "".
            deadline_ms: maximum wait of a request for the store; None for a store on this host.
        """
        self.head = head
        self.store = store
        self.refuse = refuse
        self._deadline_ms = deadline_ms
        self._online: OnlineBase | None = None
        self._following = Lock()  # guards ``_online`` against the polling thread
        self._holder = uuid4().hex
        self._failure = ""
        self._poller = Poller(self, Ingestion.poll, POLL_PERIOD_S, "karec-follow")
        self._backups = Poller(self, Ingestion._back_up, BACKUP_CHECK_PERIOD_S, "karec-backup")

    def bind(self, followed: Sequence[FollowedItems], parser: EventParser) -> OnlineBase:
        """Returns the online store as of now for a bundle with the items ``followed``, works first.

        Raises Unavailable if the store cannot be reached and no other bundle is served with it: the lifecycle
        of items would be unknown. Raises DataError if the store has other labels or scenes.
        """
        state = None if self._online is None else self._online.follower.copy_state()
        sessions = Sessions(parser, self.store, followed[0].contents)
        follower = Follower(self.store, followed, self._deadline_ms, state, sessions)
        try:
            follower.poll()
        except Exception:
            if not follower.is_ready:
                raise
        return OnlineBase(follower, parser, EventApplier(followed[0].contents))

    def follow(self, online: OnlineBase) -> None:
        """Makes ``record`` and the polling thread use ``online``."""
        with self._following:
            self._online = online
        self.poll()
        self._poller.start()
        self._backups.start()

    def record(self, events: Events | Iterable[Mapping[str, Any]], now_ms: int | None) -> Acknowledgement:
        """Stores ``events``; ``now_ms`` is None for the clock's time.

        Requests that begin after the call read them. Raises Unavailable if that cannot be promised. Some
        events may be stored nevertheless; a call with the same event ids then completes them.
        """
        online = self._current()
        moment = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        if type(moment) is not int or not 0 < moment <= LATEST_MS:
            raise ValueError(f"now_ms is {now_ms!r}, expected Unix milliseconds, an integer")
        refused = Counter[str]()
        if not isinstance(events, Events):
            events, refused = online.parser.parse(events, moment, self.store)
        n_events, invalid = append_events(self.store, online.applier, events, moment)
        self._current().poll()
        return Acknowledgement(n_events, dict(refused + invalid))

    def poll(self) -> None:
        """Applies the events of other processes. A failure is logged, and the next call tries again."""
        with self._following:
            online = self._online
            if online is None:
                return
            try:
                online.poll()
            except Exception as error:  # the polling thread must survive
                if str(error) != self._failure:
                    _log.warning("%s", one_line(f"events of other processes do not act yet: {error}"))
                self._failure = str(error)
            else:
                self._failure = ""

    def close(self) -> None:
        """Closes the store. A second call does nothing."""
        self._poller.stop()
        self._backups.stop()
        with self._following:
            self._online = None
        self.store.close()

    def _back_up(self) -> None:
        if not isinstance(self.store, SqliteStore) or self.store.path is None:
            return
        try:
            back_up_if_due(self.store, self._holder)
        except (KarecError, OSError) as error:
            _log.warning("%s", one_line(f"{self.store.path} was not backed up: {error}"))

    def _current(self) -> OnlineBase:
        if self._online is None:
            raise ValueError("this Ingestion is closed")
        return self._online


def append_events(
    store: OnlineStore, applier: EventApplier, events: Events, now_ms: int
) -> tuple[int, Counter[str]]:
    """Stores the valid events. Returns their number, repeated ones included, and {reason: invalid events}."""
    head = applier.contents.head
    events = replace(events, logged_ms=np.full(len(events), now_ms, np.int64))
    reasons = find_invalid(events, len(head.labels), head.late_ms)
    events = events.take(~np.any([*reasons.values()], axis=0))
    if len(events):
        is_new = store.append(events, applier)
        applier.counts["repeated"] += int((~is_new).sum())
    return len(events), +Counter({reason: int(is_invalid.sum()) for reason, is_invalid in reasons.items()})


def head_of(snapshot: Snapshot, late_ms: int = LATE_MS, meanings: Sequence[Meaning] = ()) -> Head:
    """Returns the labels that the platform counts or interprets, in order of their names, and its scenes.

    ``meanings``: those of labels of other item types.
    """
    columns = [*snapshot.users.columns, *snapshot.works.columns, *(snapshot.user_scene_counters or ())]
    counted = [name.removeprefix(schema.counter("")) for name in columns if schema.is_counter(name)]
    labels = {*counted}
    for meaning in (snapshot.meaning, *meanings):
        labels |= {*meaning.enjoyed, *meaning.liked, *meaning.followed, *meaning.consumed}
    labels.discard(schema.EXPOSED.removeprefix(schema.counter("")))
    return Head(tuple(sorted(labels)), tuple(snapshot.labels.get("scene", ())), late_ms)
