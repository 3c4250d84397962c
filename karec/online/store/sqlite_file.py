"""One SQLite file of an online store: its tables, connections, locks and errors."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from typing import Literal

from karec.aggregates.events import COLUMNS
from karec.errors import DataError, Unavailable

FORMAT = 1
APPLICATION_ID = 0x4B52454C
BUSY_TIMEOUT_S = 10.0
DAMAGED_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
Synchronous = Literal["FULL", "NORMAL"]

EVENT_COLUMNS = [name for name in COLUMNS if name not in ("source", "number")]
_TYPES = {name: "TEXT" if dtype is object else "INTEGER" for name, (dtype, _) in COLUMNS.items()}
STATE_TABLE = "CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
_SCHEMA = f"""
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id BLOB NOT NULL UNIQUE,
    {", ".join(f"{name} {_TYPES[name]} NOT NULL" for name in EVENT_COLUMNS)},
    is_counted INTEGER NOT NULL
);
{STATE_TABLE};
CREATE TABLE records (number INTEGER PRIMARY KEY AUTOINCREMENT, log TEXT NOT NULL, record BLOB NOT NULL);
CREATE INDEX records_by_log ON records (log, number);
CREATE TABLE documents (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, begin_s REAL, end_s REAL) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""


def backup_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.backup")


def is_sqlite_file(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


class SqliteFile:
    """A file in WAL mode, opened or created by the first use. Any thread may call; not after a fork.

    ``path``: None for a database in the memory of this process.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._writing = RLock()  # one writer of this process; in memory, also one reader
        self._opening = Lock()
        self._idle = list[sqlite3.Connection]()
        self._process_id = 0  # of the process that opened the file
        self._inodes = list[tuple[int, int]]()  # of the files that were opened
        self._lock_file = -1
        self._memory: sqlite3.Connection | None = None
        if path is None:
            self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._memory.executescript(_SCHEMA)

    @contextmanager
    def transaction(self, synchronous: Synchronous) -> Iterator[sqlite3.Connection]:
        """Yields a connection in a transaction that is committed if the block does not raise."""
        with self._writing, self.connection() as connection, self._host_lock():
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self._check_file()  # A commit to a file that was removed must not be acknowledged.

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Yields a connection that no other thread uses."""
        if self._memory is not None:
            with self._writing:
                yield self._memory
            return
        with self.errors():
            if not self._process_id:
                self._open()
            self._check_file()
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self.connect()
            try:
                yield connection
            finally:
                self._idle.append(connection)

    def compact(self) -> None:
        """Rewrites the file and empties its write-ahead log. Raises Unavailable if a reader prevents this."""
        with self._writing, self.connection() as connection, self._host_lock():
            connection.execute("VACUUM")
            (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise Unavailable(f"{self.path}: a process reads it, so it was not compacted. Try again later.")

    def connect(self) -> sqlite3.Connection:
        """Returns a new connection, which the caller closes."""
        assert self.path is not None
        # SQLite's checkpoints every 1,000 pages stay: docs/online-features.md has the times of other values.
        return sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns errors of SQLite and of the file system into those of the contract."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED_CODES:
                raise DataError(
                    f"{self.path}: not an online store, or damaged ({error}). Restore it from a backup."
                ) from error
            if isinstance(error, sqlite3.OperationalError):
                raise Unavailable(f"{self.path} cannot be used: {error}") from error
            raise
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be used: {error.strerror}") from error

    def close(self) -> None:
        with self._writing, self._opening:
            if self._memory is None and self._process_id == os.getpid():
                while self._idle:
                    self._idle.pop().close()
                os.close(self._lock_file)
                self._process_id = 0

    def _open(self) -> None:
        """Opens the file; creates it if it does not exist."""
        with self._opening:
            if self._process_id:
                return
            assert self.path is not None
            if not self.path.exists() and backup_path(self.path).exists():
                raise Unavailable(
                    f"{self.path} is missing, and it has a backup. Run karec ingest CONFIG --from-backup, or "
                    "move the backup away to start with an empty store."
                )
            self._lock_file = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                with self._host_lock():
                    connection = self.connect()
                    connection.execute("PRAGMA journal_mode = WAL")
                    _check_or_create_tables(connection, self.path)
                    inodes = self._read_inodes()
            except BaseException:
                os.close(self._lock_file)
                raise
            self._idle.append(connection)
            self._inodes = inodes
            self._process_id = os.getpid()

    @contextmanager
    def _host_lock(self) -> Iterator[None]:
        if self._memory is not None:
            yield
            return
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _check_file(self) -> None:
        if self._memory is not None:
            return
        assert self.path is not None
        if self._process_id != os.getpid():
            raise RuntimeError(f"{self.path} was opened before a fork. Open it in the child process.")
        if self._read_inodes() != self._inodes:
            raise Unavailable(f"{self.path}: the file was replaced while it was open. Restart this process.")

    def _read_inodes(self) -> list[tuple[int, int]]:
        """Returns (device, inode) of the file and of its write-ahead log, which has the newest commits."""
        statuses = [os.stat(path) for path in (f"{self.path}", f"{self.path}-wal")]
        return [(status.st_dev, status.st_ino) for status in statuses]


def _check_or_create_tables(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application_id, version) == (APPLICATION_ID, FORMAT):
        return
    if application_id or connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        connection.close()
        raise DataError(
            f"{path}: online store of format {version} (application {application_id:#x}), expected {FORMAT} "
            f"({APPLICATION_ID:#x}). Name another file in [online] url."
        )
    connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
