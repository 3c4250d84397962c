"""Online store in one SQLite file, shared by the processes of one host.

Tables      ``events`` by ``seq``, the cursor; ``state``; ``records``, ``documents`` and ``leases``.
Durability  ``append`` syncs the write-ahead log (``synchronous = FULL``); other writes do not wait for it.
Writers     Threads queue; the first commits for all that wait. Processes take a file lock (NAME.lock):
            SQLite's own pause between two tries is up to 30 ms if two processes write.
Fork        A process must not use a store that its parent opened: SQLite's locks do not survive a fork.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import COLUMNS, Events
from karec.errors import DataError
from karec.files import file_aside
from karec.online.store.event_bytes import event_ids
from karec.online.store.group_commit import GroupCommit
from karec.online.store.online_store import (
    Cursor,
    Rewrite,
    Select,
    StaleCursor,
    StateUpdate,
    StoredEvents,
    Update,
)
from karec.online.store.sqlite_file import EVENT_COLUMNS, STATE_TABLE, SqliteFile, Synchronous, backup_path

EVENTS_PER_REPLACE = 20_000
REPLACE_CACHE_KIB = 256 << 10
EVENTS_PER_DELETE = 10_000  # of one transaction
MAX_VARIABLES = 30_000  # of one statement; SQLite's limit is 32,766

Progress = Callable[[int], None]
"""Called with the number of events so far."""

_INSERT_EVENT = (
    f"INSERT INTO events (event_id, {', '.join(EVENT_COLUMNS)}, is_counted) "
    f"VALUES ({', '.join('?' * (len(EVENT_COLUMNS) + 2))})"
)
_SELECT_EVENTS = f"SELECT seq, event_id, {', '.join(EVENT_COLUMNS)}, is_counted FROM events"
_PUT_STATE = "INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


class SqliteStore:
    """See ``OnlineStore``. The file is opened, or created, by the first call.

    ``path``: None for a store in the memory of this process, for tests and simulations.
    """

    def __init__(self, path: Path | None, synchronous: Synchronous = "FULL") -> None:
        self.path = path
        self._file = SqliteFile(path)
        self._synchronous = synchronous
        self._group_commit = GroupCommit(self._commit)

    def append(self, events: Events, update: Update) -> NDArray[Any]:
        return self._group_commit.append(events, update)

    def read_user(self, user_id: int, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._file.connection() as connection:
            return _read_state(connection, keys)

    def read_items(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._file.connection() as connection:
            return _read_state(connection, keys)

    def poll(self, cursor: Cursor, max_events: int) -> StoredEvents:
        with self._file.connection() as connection:
            rows = connection.execute(
                f"{_SELECT_EVENTS} WHERE seq > ? ORDER BY seq LIMIT ?", (_to_seq(cursor), max_events)
            ).fetchall()
            if not rows:
                self._check_cursor(connection, cursor)
        if not rows:
            return StoredEvents(Events.empty(), np.empty(0, bool), cursor)
        return StoredEvents(*_from_rows(rows), _to_cursor(rows[-1][0]))

    def delete_events(self, select: Select, cursor: Cursor | None = None) -> int:
        with self._file.connection() as connection:
            end = _last_cursor(connection) if cursor is None else cursor
            self._check_cursor(connection, end)
        n_deleted = last = 0
        while True:  # appends run between two pieces
            with self._file.connection() as connection:
                rows = connection.execute(
                    f"{_SELECT_EVENTS} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
                    (last, _to_seq(end), EVENTS_PER_DELETE),
                ).fetchall()
            if not rows:
                return n_deleted
            deleted = [(rows[row][0],) for row in np.flatnonzero(select(_from_rows(rows)[0]))]
            if deleted:
                with self._file.transaction(self._synchronous) as connection:
                    connection.executemany("DELETE FROM events WHERE seq = ?", deleted)
            n_deleted += len(deleted)
            last = rows[-1][0]

    def write_user(self, user_id: int, entries: Mapping[bytes, bytes | None]) -> None:
        with self._file.transaction(self._synchronous) as connection:
            _write_state(connection, StateUpdate(entries))

    def rewrite_state(self, rewrite: Rewrite) -> int:
        with self._file.transaction(self._synchronous) as connection:
            rows = connection.execute("SELECT key, value FROM state")
            changes = {key: new for key, value in rows if (new := rewrite(key, value)) != value}
            _write_state(connection, StateUpdate(changes))
        return len(changes)

    def snapshot(self, letters: Sequence[bytes]) -> tuple[Cursor, Iterator[tuple[bytes, bytes]]]:
        if self.path is None:
            with self._file.connection() as connection:
                cursor = _last_cursor(connection)
                return cursor, iter([*_scan_state(connection, letters)])
        with self._file.connection():
            connection = self._file.connect()  # A read transaction that lasts until the iterator ends.
            connection.execute("BEGIN")
            return _last_cursor(connection), self._scan_and_close(connection, letters)

    def append_records(self, log: str, records: Sequence[bytes]) -> None:
        with self._file.transaction("NORMAL") as connection:
            connection.executemany(
                "INSERT INTO records (log, record) VALUES (?, ?)", [(log, record) for record in records]
            )

    def read_records(self, log: str, after: int) -> list[tuple[int, bytes]]:
        with self._file.connection() as connection:
            return connection.execute(
                "SELECT number, record FROM records WHERE log = ? AND number > ? ORDER BY number",
                (log, after),
            ).fetchall()

    def trim_records(self, log: str, through: int) -> None:
        with self._file.transaction("NORMAL") as connection:
            connection.execute("DELETE FROM records WHERE log = ? AND number <= ?", (log, through))

    def read_document(self, name: str) -> bytes | None:
        with self._file.connection() as connection:
            return _read_document(connection, name)

    def write_document(self, name: str, value: bytes, expected: bytes | None) -> bool:
        with self._file.transaction("NORMAL") as connection:
            is_expected = _read_document(connection, name) == expected
            if is_expected:
                connection.execute("REPLACE INTO documents VALUES (?, ?)", (name, value))
            return is_expected

    def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        # The clock of all processes of a host. It begins again with the host: a lease of the future is void.
        now = time.monotonic()
        with self._file.transaction("NORMAL") as connection:
            lease = connection.execute(
                "SELECT holder FROM leases WHERE name = ? AND begin_s <= ? AND ? < end_s", (name, now, now)
            ).fetchone()
            is_free = lease is None or lease[0] == holder
            if is_free:
                connection.execute(
                    "REPLACE INTO leases VALUES (?, ?, ?, ?)", (name, holder, now, now + seconds)
                )
            return is_free

    def check_integrity(self) -> None:
        """Reads the whole file. Raises DataError if it is damaged."""
        with self._file.connection() as connection:
            (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if result != "ok":
            raise DataError(f"{self.path}: the file is damaged ({result}). Use an older copy.")

    def back_up(self) -> None:
        """Copies the file to ``backup_path``, as of one commit, while processes read and write."""
        assert self.path is not None
        with self._file.connection() as connection, file_aside(backup_path(self.path)) as file:
            copy = sqlite3.connect(file.name)
            try:
                connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # else a copy has a log of its own
            finally:
                copy.close()

    def compact(self) -> None:
        """Removes the bytes of deleted and replaced values from the files. Writers wait meanwhile."""
        self._file.compact()

    def replace_state(self, exported: Iterable[Events], update: Update, on_progress: Progress) -> None:
        """Computes the state again from ``exported`` events and those in the file, in one commit.

        Processes read the former state until then, and wait if they write.
        """
        with self._file.transaction(self._synchronous) as connection:
            connection.execute(f"PRAGMA cache_size = -{REPLACE_CACHE_KIB}")
            connection.execute("DROP TABLE IF EXISTS state")
            connection.execute(STATE_TABLE)
            n_events = 0
            for batch in exported:  # An export that was killed left events in the file too.
                events = batch.take(~_is_stored(connection, event_ids(batch)))
                _write_state(connection, update(events, partial(_read_state, connection)))
                on_progress(n_events := n_events + len(events))
            last = 0
            while rows := connection.execute(
                f"{_SELECT_EVENTS} WHERE seq > ? ORDER BY seq LIMIT ?", (last, EVENTS_PER_REPLACE)
            ).fetchall():
                result = update(_from_rows(rows)[0], partial(_read_state, connection))
                _write_state(connection, result)
                connection.executemany(
                    "UPDATE events SET is_counted = ? WHERE seq = ?",
                    zip(result.is_counted.tolist(), [row[0] for row in rows], strict=True),
                )
                last = rows[-1][0]
                on_progress(n_events := n_events + len(rows))

    def close(self) -> None:
        self._file.close()

    def _commit(self, events: Events, update: Update) -> NDArray[Any]:
        with self._file.transaction(self._synchronous) as connection:
            return _apply(connection, events, update)

    def _check_cursor(self, connection: sqlite3.Connection, cursor: Cursor) -> None:
        if _to_seq(cursor) > _to_seq(_last_cursor(connection)):
            raise StaleCursor(f"{self.path}: the store lacks events of this cursor. Take a new snapshot.")

    def _scan_and_close(
        self, connection: sqlite3.Connection, letters: Sequence[bytes]
    ) -> Iterator[tuple[bytes, bytes]]:
        try:
            with self._file.errors():
                yield from _scan_state(connection, letters)
        finally:
            connection.close()


def _apply(connection: sqlite3.Connection, events: Events, update: Update) -> NDArray[Any]:
    """Writes the new events with their state. Returns (M,) bool, True for a new event."""
    ids = event_ids(events)
    is_new = ~_is_stored(connection, ids)
    first_rows = {event_id: row for row, event_id in reversed([*enumerate(ids)])}
    is_new &= np.array([first_rows[event_id] == row for row, event_id in enumerate(ids)], bool)
    if is_new.any():
        new_events = events.take(is_new)
        result = update(new_events, partial(_read_state, connection))
        _write_state(connection, result)
        new_ids = [ids[row] for row in np.flatnonzero(is_new)]
        connection.executemany(_INSERT_EVENT, _to_rows(new_events, new_ids, result.is_counted))
    return is_new


def _is_stored(connection: sqlite3.Connection, ids: Sequence[bytes]) -> NDArray[Any]:
    """Returns (M,) bool."""
    stored = {row[0] for row in _select_in(connection, "SELECT event_id FROM events WHERE event_id", ids)}
    return np.array([event_id in stored for event_id in ids], bool)


def _write_state(connection: sqlite3.Connection, result: StateUpdate) -> None:
    connection.executemany("INSERT OR IGNORE INTO state VALUES (?, ?)", result.base_counters.items())
    values = [(key, value) for key, value in result.entries.items() if value is not None]
    connection.executemany(_PUT_STATE, values)
    deleted = [(key,) for key, value in result.entries.items() if value is None]
    connection.executemany("DELETE FROM state WHERE key = ?", deleted)


def _select_in(connection: sqlite3.Connection, select: str, values: Sequence[bytes]) -> Iterator[Any]:
    for begin in range(0, len(values), MAX_VARIABLES):
        part = values[begin : begin + MAX_VARIABLES]
        yield from connection.execute(f"{select} IN ({','.join('?' * len(part))})", part)


def _read_state(connection: sqlite3.Connection, keys: Sequence[bytes]) -> list[bytes | None]:
    values = dict(_select_in(connection, "SELECT key, value FROM state WHERE key", keys))
    return [values.get(key) for key in keys]


def _scan_state(connection: sqlite3.Connection, letters: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for letter in letters:
        end = letter[:-1] + bytes([letter[-1] + 1])
        yield from connection.execute(
            "SELECT key, value FROM state WHERE key >= ? AND key < ?", (letter, end)
        )


def _read_document(connection: sqlite3.Connection, name: str) -> bytes | None:
    row = connection.execute("SELECT value FROM documents WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


def _last_cursor(connection: sqlite3.Connection) -> Cursor:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return _to_cursor(0 if row is None else row[0])


def _to_seq(cursor: Cursor) -> int:
    return int.from_bytes(cursor, "big")


def _to_cursor(seq: int) -> Cursor:
    return seq.to_bytes(8, "big")


def _to_rows(events: Events, ids: list[bytes], is_counted: NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    arrays = [getattr(events, name) for name in EVENT_COLUMNS]
    arrays[EVENT_COLUMNS.index("labels")] = events.labels.view(np.int64)
    columns = [array.tolist() for array in arrays]
    return zip(ids, *columns, np.asarray(is_counted, bool).tolist(), strict=True)


def _from_rows(rows: list[tuple[Any, ...]]) -> tuple[Events, NDArray[Any]]:
    """Returns (events, is_counted) of rows of ``_SELECT_EVENTS``."""
    _, ids, *values, is_counted = zip(*rows, strict=True)
    numbers = np.frombuffer(b"".join(ids), ">u8").astype(np.uint64).reshape(-1, 2)
    columns = {
        name: np.array(column, np.int64).view(np.uint64)
        if name == "labels"
        else np.array(column, COLUMNS[name][0])
        for name, column in zip(EVENT_COLUMNS, values, strict=True)
    }
    source, number = np.ascontiguousarray(numbers.T)
    return Events(source=source, number=number, **columns), np.array(is_counted, bool)
