"""One process at a time: a lock on a file beside the one that several write."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The block runs while no other process or thread is in such a block for ``path``. The file NAME.lock
    stays: who removed it while another waits would let two in. OSError: it cannot be made.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def shared_file(path: Path) -> Path:
    """``path``, whose folder may come later. ValueError: it is a folder itself."""
    if path.is_dir():
        raise ValueError(f"state: {path} is a folder: name a file in it")
    return path
