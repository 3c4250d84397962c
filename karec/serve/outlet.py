"""A connection's socket, into which the thread that made an answer writes it: the event loop need not wake
first.

The loop closes a socket after it has told its protocol that the connection is lost, and no sooner: a protocol
that closes its outlet then keeps threads from a number that has become another file's.
"""

from __future__ import annotations

import os
from threading import Lock


class Outlet:
    """``torn``: a part of an answer has been written, and the rest not yet."""

    def __init__(self, file: int) -> None:
        self._file, self._lock = file, Lock()
        self._open = True
        self.torn = False

    def write(self, data: bytes) -> bytes:
        """What the system does not take at once. Nothing is taken of a closed outlet, nor by a client that
        has left, which the loop hears of by itself. Any thread; nobody else may write meanwhile."""
        with self._lock:
            if not self._open:
                return data
            try:
                sent = os.write(self._file, data)
            except OSError:  # BlockingIOError among them: the client reads too slowly
                return data
            self.torn = sent < len(data)
            return data[sent:]

    def close(self) -> None:
        """Once it returns no thread writes any more."""
        with self._lock:
            self._open = False
