"""Contract of an online store: events, the state that they change, and records that processes share.

    append    commits new events with the state they change; an ``event_id`` counts once
    read      state of one user, or lifecycle of items
    poll      events after a cursor: each process follows them
    snapshot  item state as of a cursor; a process starts with it
    records   short logs, documents and leases: exposure counters, dual variables

Partitions  A user belongs to one partition. The events of a partition, their ids, its stream position and
            its state change in one commit, so a restored server cannot run ahead of its state. SQLite has
            one partition. Valkey has 256 by a hash of the user, and one more for the lifecycle of items.
Durability  Once ``append`` returns, the events survive a power loss.
Threads     Any thread of any process may call. ``append`` of several threads shares one commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import Events
from karec.errors import KarecError

Cursor = bytes
"""Position in the events of a store. Opaque; b"" is the beginning."""
START: Cursor = b""
ERASURE = "erasure"  # document; an erasure of items changes it, then followers read their state again


class StaleCursor(KarecError):
    """The store may lack events that this cursor includes: it is a restored backup, or its server restarted.
    State that was read up to the cursor must be read again: take a new snapshot.
    """


Read = Callable[[Sequence[bytes]], list[bytes | None]]
"""Returns the values of keys of the state; None for a key without a value."""


@dataclass(frozen=True, eq=False)
class StateUpdate:
    """The effect of M new events.

    entries        {key: new value} of the state, None to delete a key
    base_counters  {key: value} of BASE_COUNTERS, written only if the key is absent, before the commit
    is_counted     (M,) bool: the event changed the aggregates; False for a kind that they do not read, or an
                   event before the base's moment
    """

    entries: Mapping[bytes, bytes | None]
    base_counters: Mapping[bytes, bytes] = field(default_factory=dict)
    is_counted: NDArray[Any] = field(default_factory=lambda: np.empty(0, bool))


Update = Callable[[Events, Read], StateUpdate]
"""Returns the effect of new events of one partition. Called again if another process commits first."""


Select = Callable[[Events], NDArray[Any]]
"""Returns (M,) bool, True for selected events."""


Rewrite = Callable[[bytes, bytes | None], bytes | None]
"""Returns the new value of a key of the state; None deletes it, or leaves it absent."""


@dataclass(frozen=True, eq=False)
class StoredEvents:
    """Events of a store in commit order, their ``is_counted`` (M,) bool, and the cursor after them."""

    events: Events
    is_counted: NDArray[Any]
    cursor: Cursor


class OnlineStore(Protocol):
    """A store with the contract of this module.

    Each method raises Unavailable if the store cannot be reached or written.

    The keys of state are those of ``karec.online.store.records``. Item counters (WORK_COUNTERS,
    RECENT_COUNTERS) of a partition count only the events of this partition since the store began.
    BASE_COUNTERS of an item are the base's counters when a partition first counted the item. The value of an
    item is the sum of these and WORK_COUNTERS; of an item without BASE_COUNTERS it is the base's.
    """

    def append(self, events: Events, update: Update) -> NDArray[Any]:
        """Commits the events that are new with their state. Returns (M,) bool: False for a repeated event.

        An event that occurs twice in ``events`` is new once. If Unavailable is raised, some partitions may be
        committed; a second call with the same events then completes them.
        """
        ...

    def read_user(self, user_id: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Returns the values of keys of one user, all of one commit. One round trip."""
        ...

    def read_items(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Returns the values of lifecycle keys and of BASE_COUNTERS. One round trip."""
        ...

    def poll(self, cursor: Cursor, max_events: int) -> StoredEvents:
        """Returns the next events after ``cursor``, about ``max_events`` at most. Empty at the end.

        Raises StaleCursor.
        """
        ...

    def delete_events(self, select: Select, cursor: Cursor | None = None) -> int:
        """Deletes the selected events up to ``cursor``; None: all of them. Returns their number. O(events).

        The state stays. An event that was committed after ``cursor`` stays too, since the export that ended
        there lacks it. The ids of deleted events may be forgotten: the caller makes sure that a repeat is
        refused. Raises StaleCursor.
        """
        ...

    def write_user(self, user_id: int, entries: Mapping[bytes, bytes | None]) -> None:
        """Replaces entries of one user in one commit; None deletes a key."""
        ...

    def rewrite_state(self, rewrite: Rewrite) -> int:
        """Replaces the value of each key by ``rewrite(key, value)``. Returns the number of changed entries.

        ``rewrite`` may be called several times for a key. SQLite: appends wait. O(state).
        """
        ...

    def snapshot(self, letters: Sequence[bytes]) -> tuple[Cursor, Iterator[tuple[bytes, bytes]]]:
        """Returns a cursor and the entries whose keys begin with one of ``letters``, as of this cursor.

        ``letters``: some of WORK_COUNTERS, RECENT_COUNTERS, BASE_COUNTERS, WORK_LIFE and CREATOR_BLOCK.
        A key of item counters occurs once for each partition that has it. Entries of lifecycle may be newer
        than the cursor and occur twice, the newer one last; applying their events again changes nothing.
        """
        ...

    def append_records(self, log: str, records: Sequence[bytes]) -> None:
        """Appends to the log of this name, in order, in one commit. Not synced: a power loss may take the
        last second.
        """
        ...

    def read_records(self, log: str, after: int) -> list[tuple[int, bytes]]:
        """Returns (number, record) of all records with a number above ``after``, ascending."""
        ...

    def trim_records(self, log: str, through: int) -> None:
        """Deletes the records with a number up to ``through``. Numbers are never used again."""
        ...

    def read_document(self, name: str) -> bytes | None: ...

    def write_document(self, name: str, value: bytes, expected: bytes | None) -> bool:
        """Writes ``value`` if the document is ``expected``; None: it is absent. Returns True if written."""
        ...

    def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Returns True if no other holder has the lease; it ends after ``seconds``. A holder may renew;
        0 seconds end it.
        """
        ...

    def close(self) -> None: ...
