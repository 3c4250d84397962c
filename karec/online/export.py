"""Moves days of events from an online store to files.

    1. write   each day's events to its file, after those of an earlier export
    2. verify  the file contains what was written to it
    3. delete  the days from the store

A process that is killed leaves every event in the store or in a file. A second run completes the export.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import numpy as np

from karec.aggregates.events import COLUMNS, Events, Head
from karec.errors import DataError, Unavailable
from karec.online.event_files import EventFiles, day_of
from karec.online.store.online_store import START, OnlineStore, StoredEvents
from karec.times import DAY_MS

BATCH_EVENTS = 50_000
LEASE = "export"
LEASE_S = 60.0  # renewed with each batch
EXPORTED_BEFORE = "exported before"  # document of the store: days before this time (ms) are in files


@dataclass(frozen=True)
class ExportResult:
    """The days of an export, as days since 1970, and the number of events that moved."""

    days: tuple[int, ...]
    n_events: int


def export_events(
    store: OnlineStore,
    head: Head,
    files: EventFiles,
    before: datetime.date,
    now_ms: int,
    on_day: Callable[[datetime.date, int], None] = lambda day, n_events: None,
) -> ExportResult:
    """Moves the events of all days before ``before`` (UTC) to ``files``.

    Args:
        now_ms: the current time. The store accepts events that are ``head.late_ms`` old, so only days before
            this time can be exported.
        on_day: called after each day with its number of events.

    Raises:
        ValueError: ``before`` is too late.
        Unavailable: another export of this store runs, or was killed less than LEASE_S ago.
        DataError: a file does not contain what was written. The store keeps all events.

    Cost: reads the store once for each day; memory: BATCH_EVENTS events, and 16 bytes for each event of a day
    that was exported before.
    """
    before_ms = (before - datetime.date(1970, 1, 1)).days * DAY_MS
    if before > latest_before(head, now_ms):
        raise ValueError(
            f"before is {before}: events up to {head.late_ms / DAY_MS:g} days old may still arrive. "
            f"Export at most the days before {latest_before(head, now_ms)}"
        )
    holder = uuid4().hex
    renew_lease(store, holder)
    try:
        return _export_days(store, head, files, before_ms, holder, on_day)
    finally:
        store.acquire_lease(LEASE, holder, 0)  # seconds: ends it


def _export_days(
    store: OnlineStore,
    head: Head,
    files: EventFiles,
    before_ms: int,
    holder: str,
    on_day: Callable[[datetime.date, int], None],
) -> ExportResult:
    n_by_day: dict[int, int] = {}
    cursor = START
    for stored in stored_batches(store):
        renew_lease(store, holder)
        events, cursor = stored.events, stored.cursor
        is_exported = events.time_ms < before_ms
        days, counts = np.unique(day_of(events.time_ms[is_exported]), return_counts=True)
        for day, n in zip(days.tolist(), counts.tolist(), strict=True):
            n_by_day[day] = n_by_day.get(day, 0) + n
    for day, n in sorted(n_by_day.items()):
        _export_day(store, head, files, day, holder)
        on_day(datetime.date(1970, 1, 1) + datetime.timedelta(days=day), n)
    if n_by_day:
        # Before the deletion: a backup must not lack both the events and this mark.
        store.write_document(EXPORTED_BEFORE, b"%d" % before_ms, store.read_document(EXPORTED_BEFORE))
    renew_lease(store, holder)
    n_deleted = store.delete_events(lambda events: events.time_ms < before_ms, cursor) if n_by_day else 0
    return ExportResult(tuple(sorted(n_by_day)), n_deleted)


def latest_before(head: Head, now_ms: int) -> datetime.date:
    """Returns the first day that the store may still get events of."""
    return datetime.datetime.fromtimestamp((now_ms - head.late_ms) / 1e3, datetime.UTC).date()


def read_events(store: OnlineStore | None, head: Head, files: EventFiles | None, from_ms: int) -> Events:
    """Returns the events since ``from_ms`` (event time) of files and store, ordered and each once.

    The store is read first: an export may move events meanwhile. Memory: all these events.
    """
    parts = [Events.empty()]
    if store is not None:
        parts += [stored.events.take(stored.events.time_ms >= from_ms) for stored in stored_batches(store)]
    for day in () if files is None else files.days():
        if (day + 1) * DAY_MS > from_ms:
            assert files is not None
            parts += [events.take(events.time_ms >= from_ms) for events in files.read(day, head)]
    return Events.concatenate(parts).sort_unique()


def renew_lease(store: OnlineStore, holder: str) -> None:
    """Raises Unavailable if another export runs: its files would lack events that this one has moved."""
    if not store.acquire_lease(LEASE, holder, LEASE_S):
        raise Unavailable(
            f"another export or erasure of this store runs, or was killed less than {LEASE_S:.0f} s ago. Try "
            "again later."
        )


def _export_day(store: OnlineStore, head: Head, files: EventFiles, day: int, holder: str) -> None:
    exported = day in files.days()
    ids = {event_id for events in files.read(day, head) for event_id in _ids(events)} if exported else set()
    digests = list[bytes]()

    def batches() -> Iterator[Events]:
        for events in files.read(day, head) if exported else ():
            renew_lease(store, holder)
            digests.append(_digest(events))
            yield events
        for events in _events_of_day(store, day):
            renew_lease(store, holder)
            new_events = events.take(np.array([event_id not in ids for event_id in _ids(events)], bool))
            if len(new_events):
                digests.append(_digest(new_events))
                yield new_events

    files.write(day, batches(), head)
    if [_digest(events) for events in files.read(day, head)] != digests:
        raise DataError(f"{files.display}: the file of day {day} does not contain what was written to it")


def _events_of_day(store: OnlineStore, day: int) -> Iterator[Events]:
    for stored in stored_batches(store):
        is_of_day = day_of(stored.events.time_ms) == day
        if is_of_day.any():
            yield stored.events.take(is_of_day)


def stored_batches(store: OnlineStore) -> Iterator[StoredEvents]:
    stored = store.poll(START, BATCH_EVENTS)
    while len(stored.events):
        yield stored
        stored = store.poll(stored.cursor, BATCH_EVENTS)


def _ids(events: Events) -> list[tuple[int, int]]:
    return list(zip(events.source.tolist(), events.number.tolist(), strict=True))


def _digest(events: Events) -> bytes:
    digest = hashlib.sha256()
    for name, (dtype, _) in COLUMNS.items():
        column = getattr(events, name)
        digest.update(json.dumps(column.tolist()).encode() if dtype is object else column.tobytes())
    return digest.digest()
