"""Appending events: what is acknowledged is on the disk, by the policy that the writer was given.

    fsync      append returns once the bytes are      lost by SIGKILL   lost by a power cut
    "always"   on the disk (one fsync an append)      nothing           nothing
    "seal"     with the kernel                        nothing           events of parts that are not sealed
               yet
    "never"    with the kernel                        nothing           also sealed parts that the kernel
               still held

A writer has one open part. It is sealed when its hour is over, when it has ``part_events``, and at ``close``.
Sealing writes the Parquet form aside and renames it, then removes the open form. The parts of writers that
were killed are cut behind their last whole frame and sealed when the next writer of the folder begins: a
living writer holds a lock (flock) on its open part.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, Self, get_args
from uuid import uuid4

import numpy as np

from karec.aggregates.events import Events, Head, find_invalid
from karec.catalog.schema import LATEST_MS
from karec.files import add_path_to_errors, file_aside, remove_leftovers, sync_folder
from karec.online.event_log.frames import frame
from karec.online.event_log.head import begin_log
from karec.online.event_log.parts import Part, all_parts, hour_name, read_part, sealed_bytes, sealed_name

Fsync = Literal["always", "seal", "never"]
PART_EVENTS = 500_000


@dataclass(frozen=True)
class Appended:
    """Of one append: ``events`` are acknowledged; ``refused`` {reason: how many} are not in the log."""

    events: int
    refused: Mapping[str, int]


class EventLogWriter:
    """Appends to the log in ``folder``, which is made where it is missing; any number of writers share a
    folder.

    Not thread-safe: one thread calls it at a time. After a fork the child's copy is a new writer with a part
    of its own. Raises LogSchemaError when the folder has a log with another ``head``, OSError as from open
    and write.
    """

    def __init__(
        self, folder: Path, head: Head, *, fsync: Fsync = "always", part_events: int = PART_EVENTS
    ) -> None:
        if fsync not in get_args(Fsync):
            raise ValueError(f"fsync is {fsync!r}, expected one of {get_args(Fsync)}")
        self.folder, self.head, self.fsync, self.part_events = folder, head, fsync, part_events
        begin_log(folder, head)
        self._begin()
        self._seal_what_was_left()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._writer = uuid4().hex[:12]
        self._n_parts = 0
        self._part: Part | None = None
        self._file: BinaryIO | None = None
        self._bytes = self._events = self._now = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, events: Events, now_ms: int | None = None) -> Appended:
        """Adds the events that the log accepts, in their order; ``logged_ms`` is set to ``now_ms``, by
        default the clock, and never goes back. ValueError for a ``now_ms`` that is no moment.

        An OSError means that none of them is acknowledged and none is in the log; the next append may go
        through.
        """
        if self._process != os.getpid():
            if self._file is not None:
                self._file.close()  # the parent writes to it and seals it
            self._begin()
        told = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        if not 0 < told <= LATEST_MS:  # it would stay the present of every later append
            raise ValueError(f"now_ms is {told}, expected Unix milliseconds up to {LATEST_MS}")
        self._now = now = max(self._now, told)
        events = replace(events, logged_ms=np.full(len(events), now, np.int64))
        reasons = find_invalid(events, len(self.head.labels), self.head.late_ms)
        good = ~np.any([*reasons.values()], axis=0)
        kept = events if good.all() else events.take(good)
        if len(kept):
            self._turn(hour_name(now), len(kept))
            self._write(frame(kept))
            self._events += len(kept)
        return Appended(len(kept), {reason: int(bad.sum()) for reason, bad in reasons.items() if bad.any()})

    def close(self) -> None:
        """Seals the open part."""
        if self._process == os.getpid() and self._part is not None:
            part, file = self._part, self._file
            self._part = self._file = None
            assert file is not None
            with file:
                self._seal(part)

    def _turn(self, hour: str, n: int) -> None:
        """An open part of this hour with room."""
        if self._part is not None and (hour != self._part.hour or self._events + n > self.part_events):
            self.close()
        if self._part is None:
            (self.folder / hour).mkdir(exist_ok=True)
            while (file := self._opened(part := self._next_part(hour))) is None:
                pass
            self._part, self._file, self._bytes, self._events = part, file, 0, 0
            if self.fsync == "always":
                sync_folder(part.path.parent)
                sync_folder(self.folder)

    def _next_part(self, hour: str) -> Part:
        part = Part(hour, self._writer, self._n_parts, self.folder / hour, None)
        self._n_parts += 1
        return replace(part, path=part.path / part.open_path.name)

    @staticmethod
    def _opened(part: Part) -> BinaryIO | None:
        """The part's file, new and locked; None where another writer has taken it, before it was locked, for
        one that was left.
        """
        file = open(part.path, "xb", buffering=0)  # noqa: SIM115 (closed when it is sealed)
        if _lock(file) and os.fstat(file.fileno()).st_nlink:
            return file
        file.close()
        return None

    def _write(self, data: bytes) -> None:
        assert self._file is not None and self._part is not None
        with add_path_to_errors(self._part.path):
            at = memoryview(data)
            try:
                while at:
                    at = at[self._file.write(at) :]
                if self.fsync == "always":
                    os.fsync(self._file.fileno())
            except BaseException:
                self._take_back(seen=not at)
                raise
        self._bytes += len(data)

    def _take_back(self, seen: bool) -> None:
        """What was written of a frame goes. Where it cannot, or where the frame was whole, so that a tail may
        have ``seen`` and counted it, the next append begins another part.
        """
        assert self._file is not None
        try:
            os.ftruncate(self._file.fileno(), self._bytes)
            self._file.seek(self._bytes)
        except OSError:
            seen = True
        if seen:
            self._file.close()
            self._part = self._file = None

    def _seal(self, part: Part) -> None:
        data = sealed_bytes(read_part(part, self.head), self.head)
        final = part.path.parent / sealed_name(part, data)
        if self.fsync == "never":
            aside = part.path.with_suffix(".parquet.tmp")
            aside.write_bytes(data)
            aside.rename(final)
        else:
            with file_aside(final) as file:
                file.write(data)
        part.open_path.unlink(missing_ok=True)

    def _seal_what_was_left(self) -> None:
        for part in all_parts(self.folder):
            remove_leftovers(part.path.parent, r"part-[0-9a-f]+-[0-9]+-[0-9a-f]+\.parquet")
            if not part.open_path.exists():
                continue
            with suppress(FileNotFoundError), open(part.open_path, "rb") as file:
                if not _lock(file, without=False):  # of a living writer
                    continue
                if part.crc is None and part.open_path.exists():
                    self._seal(part)
                elif part.crc is not None:
                    part.open_path.unlink(missing_ok=True)


def _lock(file: BinaryIO, *, without: bool = True) -> bool:
    """Whether the file is locked now and nobody else holds it; ``without`` where the file system has no
    locks: what was left is then sealed by nobody, and read as it is.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without
    return True
