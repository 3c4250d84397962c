"""A store in this process: for tests, simulations and one-process services. It ends with the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from karec.online.store.store import CURSOR, Conflict


class MemoryStore:
    """See ``StateStore``. Threads may share it."""

    def __init__(self) -> None:
        self._entries: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._lock:
            return [self._entries.get(key) for key in keys]

    def commit(self, entries: Mapping[bytes, bytes | None], was: bytes | None) -> None:
        with self._lock:
            if self._entries.get(CURSOR) != was:
                raise Conflict("another writer committed to this store")
            for key, value in entries.items():
                if value is None:
                    self._entries.pop(key, None)
                else:
                    self._entries[key] = value

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._lock:
            found = [(key, value) for key, value in self._entries.items() if start <= key < stop]
        return iter(found)

    def close(self) -> None:
        pass
