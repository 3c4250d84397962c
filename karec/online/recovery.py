"""A store made again from the log."""

from __future__ import annotations

from pathlib import Path

from karec.catalog.snapshot import Snapshot
from karec.online.apply_events import EventApplier
from karec.online.event_log.parts import all_parts
from karec.online.event_log.tail import Cursor, EventTail
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.memory import MemoryStore
from karec.online.store.records import HIGHEST, LOWEST
from karec.online.store.store import CURSOR, Conflict, StateStore

TRIES = 8


def catch_up(store: StateStore, folded: StoreContents, log: Path) -> EventApplier:
    """Takes everything that the log has behind the store's cursor; an empty store is so rebuilt. The writer
    that did it.
    """
    writer = EventApplier(store, folded)
    tail = EventTail(log, writer.cursor)
    while writer.follow(tail):
        pass
    return writer


def lacks_events(store: StateStore, base: Snapshot) -> bool:
    """Whether events that happened at the moment of ``base`` or later were passed over, since a base of a
    later moment had them: where an older bundle is restored, neither the store nor the bundle has them.
    """
    return records.moment_of(store.read([records.PASSED_OVER])[0]) >= base.time_ms


def can_be_rebuilt(store: StateStore, log: Path) -> bool:
    """Whether ``log`` has all that the store has read: no part of a writer that it read is retired. That the
    log begins before the bundle is not enough: blocks, adjustments and what was shown count whatever the
    bundle's moment.
    """
    cursor = store.read([CURSOR])[0]
    begun = {part.writer for part in all_parts(log) if part.number == 0}
    return cursor is None or {*Cursor.of_bytes(cursor).places} <= begun


def rebuild(store: StateStore, folded: StoreContents, log: Path) -> None:
    """What ``log`` says in place of all entries, in one commit: readers see the one or the other. Memory: the
    store's. Conflict: other processes wrote before each of TRIES commits.
    """
    made = MemoryStore()
    for left in reversed(range(TRIES)):
        catch_up(made, folded, log)
        was = store.read([CURSOR])[0]
        gone = dict.fromkeys(key for key, _ in store.scan(LOWEST, HIGHEST))
        try:
            store.commit({**gone, **dict(made.scan(LOWEST, HIGHEST))}, was)
        except Conflict:
            if not left:
                raise
        else:
            return
