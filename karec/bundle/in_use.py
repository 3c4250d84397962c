"""Locks on bundle folders: a publisher that removes old versions keeps those that are open on its machine.

The locks are flock's and end with their process. A file system without locks, or one with locks by machine
(NFS), shows no reader of another machine: publish from one machine there, and keep as many versions as the
slowest reader needs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class InUse:
    """A shared lock on ``folder`` until this object is deleted, after a fork in both processes.

    If the folder cannot be opened or locked, there is no lock and no error.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1
        with suppress(OSError):
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def __reduce__(self) -> tuple[type[InUse], tuple[Path]]:
        return InUse, (self._folder,)


@contextmanager
def lock_exclusively(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Yields True if no other block and no ``InUse`` has a lock on ``folder``, else False; ``wait``: waits
    for the lock."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # children that were forked in the block hold it too
    finally:
        os.close(descriptor)
