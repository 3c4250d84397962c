"""What a store must do. ``tests/contracts/state_store.py`` holds every store to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from karec.errors import KarecError

CURSOR = b"cursor"  # the key of the log's cursor: what every commit is compared with


class Conflict(KarecError):
    """Another writer committed since; nothing of this commit is in the store."""


class StateStore(Protocol):
    """Bytes by key, written by one writer at a time and read by any number.

    Unavailable, a KarecError, says that the store is gone; then nothing of a commit is known to be there.
    """

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of ``keys``, None where there is none; all as of one moment, in one round trip."""

    def commit(self, entries: Mapping[bytes, bytes | None], was: bytes | None) -> None:
        """Writes all ``entries`` or, when the process or the machine stops, none; None removes a key.

        Raises Conflict when the value at CURSOR is not ``was`` (None: there is none).
        """

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The entries with start ≤ key < stop, each once, in any order. What is committed meanwhile may be in
        it or not.
        """

    def close(self) -> None:
        """Releases what the store holds; it may be called twice."""
