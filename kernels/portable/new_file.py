"""A file that appears whole or not at all: written beside its path, synced, renamed over it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_serial = count()


def write_aside(path: bytes, pieces: Iterable[ReadableBuffer]) -> None:
    """Whoever opens ``path`` gets the old file or the whole new one. OSError."""
    aside = b"%s.%d-%d.tmp" % (path, os.getpid(), next(_serial))
    while os.path.lexists(aside):  # of a writer that was killed: in containers process ids repeat
        aside = b"%s.%d-%d.tmp" % (path, os.getpid(), next(_serial))
    try:
        with open(aside, "xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.rename(aside, path)
    except BaseException:
        if os.path.lexists(aside):
            os.unlink(aside)
        raise
    folder = os.open(os.path.dirname(path) or b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder; the rename itself stands
            raise
    finally:
        os.close(folder)
