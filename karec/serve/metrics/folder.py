"""The folder that all workers of a service share for their numbers: in memory where the system has such a
place."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
PREFIX = "karec-metrics-"
HELD = "service.lock"  # locked by the parent, and so by the workers that it forks


@contextmanager
def metrics_folder() -> Iterator[Path]:
    """A new folder, which goes when the block ends; that of a service that was killed goes when the next one
    begins."""
    beside = IN_MEMORY if os.access(IN_MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    _remove_dead(beside)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=beside))
    held = _locked(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _locked(folder: Path) -> int:
    descriptor = os.open(folder / HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _remove_dead(beside: Path) -> None:
    for folder in beside.glob(f"{PREFIX}*"):
        # absent: it is being made, or somebody else's
        with suppress(OSError), open(folder / HELD, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
