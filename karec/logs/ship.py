"""Deletes old parts of a rank log, on a host and in an object store, and uploads new ones."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from karec.errors import one_line
from karec.object_store import ObjectFolder
from karec.times import DAY_MS

PARTS = "part-*.parquet"
STORED_PART = re.compile(r"part-[0-9a-f]{12}-[0-9]{6,}\.parquet")  # names that RankLogWriter gives
EXPIRY_PERIOD_S = 3600.0  # the objects are listed once in this time
MAX_PARTS = 16  # uploaded in one call, so that a backlog does not hold up the writer
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 300.0

_log = logging.getLogger("karec.logs")


class PartShipper:
    """Deletes the parts of ``folder`` that are older than ``days``, and uploads the others to ``url``.

    A part is deleted when its object has its size. While the object store cannot be reached, parts stay in
    the folder and uploads are tried again after 1, 2, 4 … 300 s. A part that reaches its age first is
    deleted, counted and logged. Each hour, parts at ``url`` that were written more than ``days`` ago are
    deleted, those of other hosts too. Any number of processes may ship one folder. One thread may call.

    Uploads run on a thread of their own: an attempt at an unreachable store takes seconds, and the queue of
    requests would fill up.
    """

    def __init__(self, folder: Path, days: float, url: str | None) -> None:
        if not days > 0:
            raise ValueError(f"days must be positive, got {days}")
        self._folder = folder
        self._max_age_s = days * DAY_MS / 1000
        self._store = None if url is None else ObjectFolder(url)
        self._retry_s = 0.0  # 0: the last upload succeeded
        self._next_upload_s = 0.0  # time.monotonic()
        self._next_expiry_s = 0.0  # time.monotonic()
        self._thread: Thread | None = None
        self._counts = {"parts_uploaded": 0, "uploads_failed": 0, "parts_expired": 0, "objects_expired": 0}

    def counts(self) -> dict[str, int]:
        """Returns the numbers of uploaded parts, of failed uploads, of parts that were deleted without an
        upload, and of deleted objects."""
        return {} if self._store is None else dict(self._counts)

    def start(self) -> None:
        """Begins to upload parts unless an upload runs. Without an object store, only deletes old parts."""
        if self._store is None:
            self.ship()
        elif self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._ship_or_warn, name="karec-ship", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Waits for a running upload, and uploads the parts that were added since."""
        if self._thread is not None:
            self._thread.join()
        self.ship()

    def _ship_or_warn(self) -> None:
        try:
            self.ship()
        except OSError as error:
            _log.warning("%s", one_line(f"rank log parts stay in {self._folder} for now: {error}"))

    def ship(self) -> None:
        """Uploads at most ``MAX_PARTS`` parts, then deletes old ones, at the URL each hour.

        A failed upload is counted. Raises OSError of the folder.
        """
        with _lock(self._folder) as is_locked:
            if not is_locked:  # another process ships
                return
            parts = sorted(self._folder.glob(PARTS))
            if self._store is not None and time.monotonic() >= self._next_upload_s:
                self._upload(self._store, parts[:MAX_PARTS])
            self._delete_old(parts)
            if self._store is not None and not self._retry_s and time.monotonic() >= self._next_expiry_s:
                self._next_expiry_s = time.monotonic() + EXPIRY_PERIOD_S
                self._delete_old_objects(self._store)

    def _upload(self, store: ObjectFolder, parts: list[Path]) -> None:
        for part in parts:
            try:
                store.upload(part, part.name)
            except OSError as error:
                self._counts["uploads_failed"] += 1
                if not self._retry_s:
                    _log.warning("%s", one_line(f"rank log parts stay in {self._folder} for now: {error}"))
                self._retry_s = min(2 * self._retry_s or FIRST_RETRY_S, MAX_RETRY_S)
                self._next_upload_s = time.monotonic() + self._retry_s
                return
            part.unlink()
            self._retry_s = 0.0
            self._counts["parts_uploaded"] += 1

    def _delete_old(self, parts: list[Path]) -> None:
        oldest = time.time() - self._max_age_s
        expired = [part for part in parts if part.exists() and part.stat().st_mtime < oldest]
        for part in expired:
            part.unlink()
        if expired and self._store is not None:
            self._counts["parts_expired"] += len(expired)
            _log.warning("%d rank log parts in %s expired before their upload", len(expired), self._folder)

    def _delete_old_objects(self, store: ObjectFolder) -> None:
        oldest = time.time() - self._max_age_s
        try:
            for name, changed_s in store.change_times_s(".parquet").items():
                if changed_s < oldest and STORED_PART.fullmatch(name):
                    with suppress(FileNotFoundError):  # another host has deleted it
                        store.remove(name)
                        self._counts["objects_expired"] += 1
        except OSError as error:
            _log.warning("%s", one_line(f"old rank log parts stay at {store} for now: {error}"))


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Yields True if no other process ships ``folder``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
