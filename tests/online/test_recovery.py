"""A SQLite store is repaired from its backup, its events and exported days."""

from __future__ import annotations

import contextlib
import datetime
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from event_platform import HEAD, START, USERS, WORKS, everything, platform

from karec.aggregates.events import Events
from karec.errors import DataError, LogSchemaError, Unavailable
from karec.online.apply_events import EventApplier
from karec.online.event_files import EventFiles
from karec.online.export import export_events, read_events
from karec.online.recovery import back_up_if_due, rebuild_state, restore
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.sqlite import SqliteStore
from karec.online.store.sqlite_file import backup_path
from karec.times import DAY_MS

CONTENTS = StoreContents(platform(), HEAD)
APPLIER = EventApplier(CONTENTS)
FIRST_DAY = START // DAY_MS + 1


def events_of_day(day: int, n: int = 40) -> Events:
    """Returns impressions and blocks of the day with this number since the store began."""
    rng = np.random.default_rng(day)
    is_shown = np.arange(n) < n - 2
    return Events.from_columns(
        np.where(is_shown, 0, 8).astype(np.uint8),
        source=day,
        number=np.arange(n),
        time_ms=(FIRST_DAY + day) * DAY_MS + np.sort(rng.integers(0, DAY_MS, n)),
        logged_ms=(FIRST_DAY + day) * DAY_MS,
        user_id=np.where(is_shown, rng.choice(USERS, n), -1),
        item_id=rng.choice(WORKS, n),
        labels=np.where(is_shown, rng.integers(0, 16, n), 0),
        scene=rng.integers(-1, 3, n),
    )


def replay(n_days: int) -> dict[object, object]:
    store = SqliteStore(None)
    for day in range(n_days):
        store.append(events_of_day(day), APPLIER)
    return content_of(store)


def content_of(store: SqliteStore) -> dict[object, object]:
    lives = dict(store.snapshot([records.WORK_LIFE, records.CREATOR_BLOCK])[1])
    return everything(store) | {"lives": lives}


def export_before(store: SqliteStore, files: EventFiles, day: int) -> None:
    before = datetime.date(1970, 1, 1) + datetime.timedelta(days=FIRST_DAY + day)
    export_events(store, HEAD, files, before, (FIRST_DAY + day + 3) * DAY_MS)


@pytest.fixture
def files(tmp_path):
    return EventFiles(str(tmp_path / "exported"))


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "online.db")
    CONTENTS.check(store)
    yield store
    store.close()


def lose(store: SqliteStore) -> None:
    """Removes the file, and leaves its write-ahead log as a killed process does."""
    log = store.path.with_name("online.db-wal")
    content = log.read_bytes()
    store.close()
    store.path.unlink()
    log.write_bytes(content)


def test_restored_backup_equals_a_replay_of_its_events(store, files):
    """Yesterday's store: days 0 and 1 were exported before the backup, day 3 came after it and is lost."""
    for day in range(3):
        store.append(events_of_day(day), APPLIER)
    export_before(store, files, 2)
    assert back_up_if_due(store, "a")
    store.append(events_of_day(3), APPLIER)
    lose(store)
    restore(store.path, CONTENTS, files, lambda n: None)
    restored = SqliteStore(store.path)
    assert content_of(restored) == replay(3)
    assert not restored.append(events_of_day(2), APPLIER).any()
    restored.append(events_of_day(3), APPLIER)
    assert content_of(restored) == replay(4)
    restored.close()


def test_days_exported_after_the_backup_are_restored(store, files):
    for day in range(2):
        store.append(events_of_day(day), APPLIER)
    export_before(store, files, 1)
    store.back_up()
    store.append(events_of_day(2), APPLIER)
    export_before(store, files, 3)
    lose(store)
    restore(store.path, CONTENTS, files, lambda n: None)
    restored = SqliteStore(store.path)
    assert content_of(restored) == replay(3)
    restored.close()


def test_restore_that_failed_leaves_no_file_and_can_be_repeated(store, files):
    store.append(events_of_day(0), APPLIER)
    store.back_up()
    store.append(events_of_day(1), APPLIER)
    export_before(store, files, 2)
    lose(store)
    (day,) = [path for path in Path(files.display).glob("*.parquet") if path.stat().st_size][-1:]
    content = day.read_bytes()
    day.write_bytes(content[:-100])
    with pytest.raises(LogSchemaError, match=day.name):
        restore(store.path, CONTENTS, files, lambda n: None)
    assert not store.path.exists()
    day.write_bytes(content)
    restore(store.path, CONTENTS, files, lambda n: None)
    restored = SqliteStore(store.path)
    assert content_of(restored) == replay(2)
    restored.close()
    assert not [path for path in store.path.parent.iterdir() if ".restoring" in path.name]


def cut_off(store: SqliteStore) -> None:
    os.truncate(backup_path(store.path), 100)


def erase_first_page(table: str) -> Callable[[SqliteStore], None]:
    def damage(store: SqliteStore) -> None:
        with contextlib.closing(sqlite3.connect(backup_path(store.path))) as connection:
            query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
            (page,) = connection.execute(query, (table,)).fetchone()
            (n_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        with open(backup_path(store.path), "r+b") as backup:
            backup.seek((page - 1) * n_bytes)
            backup.write(bytes(n_bytes))

    return damage


@pytest.mark.parametrize("damage", [cut_off, *map(erase_first_page, ("events", "state", "documents"))])
def test_damaged_backup_is_refused_before_it_becomes_the_file(store, files, damage):
    for day in range(4):
        store.append(events_of_day(day), APPLIER)
    store.back_up()
    lose(store)
    damage(store)
    with pytest.raises(DataError):
        restore(store.path, CONTENTS, files, lambda n: None)
    assert not store.path.exists()


def test_lost_file_with_a_backup_is_not_replaced_by_an_empty_store(store, files):
    store.append(events_of_day(0), APPLIER)
    store.back_up()
    lose(store)
    with pytest.raises(Unavailable, match="Run karec ingest CONFIG --from-backup"):
        SqliteStore(store.path).append(events_of_day(1), APPLIER)
    assert not store.path.exists()
    backup_path(store.path).unlink()
    with pytest.raises(FileNotFoundError):
        restore(store.path, CONTENTS, files, lambda n: None)
    assert not store.path.exists()


def test_existing_file_is_not_restored(store, files):
    store.append(events_of_day(0), APPLIER)
    store.back_up()
    with pytest.raises(FileExistsError, match="move it away"):
        restore(store.path, CONTENTS, files, lambda n: None)


@pytest.mark.parametrize("is_dropped", [False, True])
def test_lost_state_is_rebuilt_from_exported_days_and_the_file(store, files, is_dropped):
    for day in range(4):
        store.append(events_of_day(day), APPLIER)
    export_before(store, files, 2)
    expected = content_of(store)
    with store._file.connection() as connection:
        connection.execute("DROP TABLE state" if is_dropped else "DELETE FROM state WHERE key > x'66'")
    if is_dropped:
        with pytest.raises(Unavailable, match="no such table"):
            everything(store)
    progress = list[int]()
    rebuild_state(store, CONTENTS, files, progress.append)
    assert content_of(store) == expected == replay(4)
    assert progress[-1] == 160 and progress == sorted(progress)
    assert len(read_events(store, HEAD, None, 0)) == 80


def test_export_that_was_killed_before_its_deletion_counts_no_event_twice(store, files, monkeypatch):
    for day in range(2):
        store.append(events_of_day(day), APPLIER)
    monkeypatch.setattr(SqliteStore, "delete_events", lambda *arguments: 0)
    export_before(store, files, 1)
    rebuild_state(store, CONTENTS, files, lambda n: None)
    assert content_of(store) == replay(2)
    store.back_up()
    lose(store)
    restore(store.path, CONTENTS, files, lambda n: None)
    restored = SqliteStore(store.path)
    assert content_of(restored) == replay(2)
    restored.close()


def test_rebuild_with_a_later_base_counts_events_after_its_moment(store, files):
    for day in range(2):
        store.append(events_of_day(day), APPLIER)
    later = StoreContents(replace(CONTENTS.base, time_ms=(FIRST_DAY + 1) * DAY_MS), HEAD)
    rebuild_state(store, later, files, lambda n: None)
    stored = store.poll(b"", 100)
    is_shown = stored.events.kind == 0
    assert (stored.is_counted == (is_shown & (stored.events.source == 1))).all()


def test_store_of_other_labels_is_not_rebuilt(store, files):
    store.append(events_of_day(0), APPLIER)
    expected = content_of(store)
    other = StoreContents(CONTENTS.base, replace(HEAD, labels=("click",)))
    with pytest.raises(DataError, match="Name another store"):
        rebuild_state(store, other, files, lambda n: None)
    assert content_of(store) == expected


def test_backup_is_written_once_a_day_by_one_process(store):
    store.append(events_of_day(0), APPLIER)
    assert back_up_if_due(store, "a") and not back_up_if_due(store, "a")
    backup = backup_path(store.path)
    os.utime(backup, (0, 0))
    assert not back_up_if_due(store, "b")  # "a" has the lease
    assert back_up_if_due(store, "a")
    os.utime(backup, (1 << 33, 1 << 33))  # of a clock that was wrong
    assert back_up_if_due(store, "a")


def test_backup_during_appends_has_whole_commits(store, tmp_path):
    done = threading.Event()

    def append() -> None:
        for day in range(30):
            store.append(events_of_day(day), APPLIER)
        done.set()

    writer = threading.Thread(target=append)
    writer.start()
    while not done.is_set():
        store.back_up()
        copy = SqliteStore(tmp_path / "copy.db")
        backup_path(store.path).rename(copy.path)
        n_events = len(read_events(copy, HEAD, None, 0))
        assert n_events % 40 == 0
        counted = everything(copy)["works"]
        replayed = SqliteStore(None)
        for day in range(n_events // 40):
            replayed.append(events_of_day(day), APPLIER)
        assert counted == everything(replayed)["works"]
        copy.close()
        copy.path.unlink()
    writer.join()
