"""Backups of a SQLite store, and its repair from a backup and from events.

    back_up_if_due  copies the file to FILE.backup once a day; only the process with the lease does it
    restore         makes a lost file from its backup and the days exported after it
    rebuild_state   computes lost state from all events: exported days and those in the file

Restart the services after a repair: they keep counters and the lifecycle of items in memory.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from karec.aggregates.events import Events
from karec.files import sync_folder
from karec.online.apply_events import EventApplier
from karec.online.event_files import EventFiles
from karec.online.export import EXPORTED_BEFORE
from karec.online.store.contents import StoreContents
from karec.online.store.sqlite import Progress, SqliteStore
from karec.online.store.sqlite_file import backup_path
from karec.times import DAY_MS

BACKUP_PERIOD_S = 86_400.0
LEASE_SECONDS = 3_600.0


def back_up_if_due(store: SqliteStore, holder: str) -> bool:
    """Writes the backup if it is older than a day and no other process does. Returns True if it did."""
    assert store.path is not None
    backup = backup_path(store.path)
    # A time in the future comes from a clock that was wrong.
    if backup.exists() and abs(time.time() - backup.stat().st_mtime) < BACKUP_PERIOD_S:
        return False
    if not store.acquire_lease("backup", holder, LEASE_SECONDS):
        return False
    store.back_up()
    return True


def restore(path: Path, contents: StoreContents, files: EventFiles | None, on_progress: Progress) -> None:
    """Makes a lost file from its backup and from the days that were exported after the backup.

    The file appears when it is complete. Events that were stored after the backup and not exported are lost.
    Raises FileExistsError if the file exists, FileNotFoundError without a backup, DataError if the backup is
    damaged or has other labels, and LogSchemaError for a damaged file of events.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists: move it away to restore its backup")
    aside = path.with_name(f"{path.name}.restoring")
    _remove(aside, "", "-wal", "-shm")  # of a restore that was killed
    shutil.copyfile(backup_path(path), aside)
    store = SqliteStore(aside)
    try:
        store.check_integrity()
        contents.check(store)
        # Days before were exported when the backup was written: its state contains their events.
        first_day = int(store.read_document(EXPORTED_BEFORE) or 0) // DAY_MS
        applier = EventApplier(contents)
        n_events = 0
        for events in _exported(files, contents, first_day):
            store.append(events, applier)
            on_progress(n_events := n_events + len(events))
    finally:
        store.close()
    _remove(path, "-wal", "-shm")  # SQLite would apply the log of the lost file to this one.
    aside.rename(path)
    sync_folder(path.parent)
    _remove(aside, ".lock")


def _remove(path: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def rebuild_state(
    store: SqliteStore, contents: StoreContents, files: EventFiles | None, on_progress: Progress
) -> None:
    """Computes the state again: that of ``contents.base``, and all events after it.

    Raises DataError if the store has other labels, LogSchemaError for a damaged file of events.
    """
    contents.check(store)
    store.replace_state(_exported(files, contents, 0), EventApplier(contents), on_progress)


def _exported(files: EventFiles | None, contents: StoreContents, first_day: int) -> Iterator[Events]:
    for day in () if files is None else files.days():
        if day >= first_day:
            assert files is not None
            yield from files.read(day, contents.head)
