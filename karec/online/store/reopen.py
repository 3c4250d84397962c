"""A store that is opened when it is first needed, and again after it could not be: a service begins without
it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock

from karec.errors import Unavailable
from karec.online.store.open import open_store
from karec.online.store.store import StateStore

AGAIN_S = 1.0  # after a failure nobody tries for so long


class ReopeningStore:
    """See ``StateStore``. Threads may share it. Unavailable in microseconds while it is known not to open."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._store: StateStore | None = None
        self._lock = Lock()
        self._failed, self._why = -AGAIN_S, ""

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._opened().read(keys)

    def commit(self, entries: Mapping[bytes, bytes | None], was: bytes | None) -> None:
        self._opened().commit(entries, was)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._opened().scan(start, stop)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _opened(self) -> StateStore:
        store = self._store
        if store is not None:
            return store
        with self._lock:
            if self._store is None:
                if time.monotonic() - self._failed < AGAIN_S:
                    raise Unavailable(self._why)
                try:
                    self._store = open_store(self._address)
                except Unavailable as error:
                    self._failed, self._why = time.monotonic(), str(error)
                    raise
            return self._store
