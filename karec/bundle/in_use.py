"""Who has a bundle's folder open: a publisher that retires old versions passes over what is open on its
machine.

Locks are flock's: they end with their process, however it ends. Where the file system has none, or is written
from several machines and keeps locks by machine (NFS), nobody is known to hold anything: there, publish from
one machine and keep as many versions as the slowest reader needs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class InUse:
    """``folder`` is held until this object goes; one that cannot be opened or locked is not, and nothing is
    raised.

    After a fork it is held until both processes let it go.
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
def alone_in(folder: Path, wait: bool) -> Iterator[bool]:
    """Whether the block has ``folder`` for itself: no other block and no ``InUse`` has it. With ``wait`` it
    waits."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for children that were forked in the block
    finally:
        os.close(descriptor)
