"""A store in a folder, by LMDB: a B+ tree of copied-on-write pages that all processes of a machine map.

A commit is one LMDB transaction: its pages are written and synced (fdatasync) before the new root is. So a
killed process leaves the last commit whole. After a power cut the last commits may be gone, their cursor with
them, and are made again from the log. Readers never wait and never block the writer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from karec.errors import MissingExtra, Unavailable
from karec.online.store.store import CURSOR, Conflict

MOST_BYTES = 1 << 40  # of address space; the file grows as it is written
SCANNED_AT_ONCE = 10_000  # entries: a long read would keep old pages from being used again


class LmdbStore:
    """See ``StateStore``. Threads may share it; a process opens a folder once, and after a fork opens it
    anew."""

    def __init__(self, folder: Path) -> None:
        try:
            import lmdb
        except ImportError as error:
            raise MissingExtra("lmdb", "live", "the state store in a folder") from error
        self._error = lmdb.Error
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            self._environment = lmdb.open(str(folder), map_size=MOST_BYTES, metasync=False, max_readers=1024)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._told(), self._environment.begin() as transaction:
            return [transaction.get(key) for key in keys]

    def commit(self, entries: Mapping[bytes, bytes | None], was: bytes | None) -> None:
        with self._told(), self._environment.begin(write=True) as transaction:
            if transaction.get(CURSOR) != was:
                raise Conflict("another writer committed to this store")
            for key in sorted(entries):  # neighbours share pages
                value = entries[key]
                if value is None:
                    transaction.delete(key)
                else:
                    transaction.put(key, value)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        while True:
            found: list[tuple[bytes, bytes]] = []
            with self._told(), self._environment.begin() as transaction, transaction.cursor() as cursor:
                more = cursor.set_range(start)
                while more and cursor.key() < stop and len(found) < SCANNED_AT_ONCE:
                    found.append(cursor.item())
                    more = cursor.next()
            yield from found
            if len(found) < SCANNED_AT_ONCE:
                return
            start = found[-1][0] + b"\0"

    def close(self) -> None:
        self._environment.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (self._error, OSError) as error:
            raise Unavailable(f"the state store cannot be used: {error}") from error
