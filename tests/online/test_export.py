"""Tests of the export of days: each event is in the store or in a file, whatever fails."""

import datetime
from collections.abc import Iterator

import numpy as np
import pytest
from valkey_server import PROGRAMS, REASON, ValkeyServer

from karec.aggregates.events import COLUMNS, IMPRESSION, Events, Head
from karec.errors import Unavailable
from karec.online.event_files import EventFiles
from karec.online.export import export_events, read_events
from karec.online.store.online_store import START, OnlineStore, StateUpdate
from karec.online.store.sqlite import SqliteStore
from karec.online.store.valkey import ValkeyStore
from karec.times import DAY_MS

HEAD = Head(("click", "like"), ("home",), late_ms=DAY_MS)
FIRST_DAY = 20_000
BEFORE = datetime.date(1970, 1, 1) + datetime.timedelta(days=FIRST_DAY + 2)
NOW_MS = (FIRST_DAY + 3) * DAY_MS


def impressions(day: int, n: int, first_number: int = 0) -> Events:
    return Events.from_columns(
        np.full(n, IMPRESSION, np.uint8),
        source=day,
        number=np.arange(first_number, first_number + n),
        time_ms=(FIRST_DAY + day) * DAY_MS + np.arange(n),
        logged_ms=NOW_MS,
        user_id=np.arange(n) % 7,
        item_id=np.arange(n) % 5,
        scene=0,
        labels=np.arange(n) % 4,
    )


def count_events(events, read):
    return StateUpdate({}, {}, np.ones(len(events), bool))


@pytest.fixture(params=["sqlite", "valkey"])
def empty_store(request, tmp_path) -> Iterator[OnlineStore]:
    if request.param == "sqlite":
        yield SqliteStore(None)
        return
    pytest.importorskip("valkey")
    if not PROGRAMS:
        pytest.skip(REASON)
    server = ValkeyServer(tmp_path)
    yield ValkeyStore(server.url, 30)  # seconds
    server.kill()


@pytest.fixture
def store(empty_store) -> Iterator[OnlineStore]:
    store = empty_store
    for day in (1, 0, 2, 0):  # out of order, and one batch is sent again
        store.append(impressions(day, 100), count_events)
    yield store
    store.close()


@pytest.fixture
def files(tmp_path) -> EventFiles:
    return EventFiles(str(tmp_path / "events"))


def assert_complete(store, files, n=300):
    events = read_events(store, HEAD, files, 0)
    expected = Events.concatenate([impressions(day, 100) for day in range(3)]).sort_unique()
    assert len(events) == n
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(events, name)[:300], getattr(expected, name), err_msg=name)


def test_export_moves_days_before_the_given_day(store, files):
    days = []
    exported = export_events(store, HEAD, files, BEFORE, NOW_MS, lambda day, n: days.append((str(day), n)))
    assert exported.n_events == 200 and files.days() == [FIRST_DAY, FIRST_DAY + 1]
    assert days == [("2024-10-04", 100), ("2024-10-05", 100)]
    assert len(store.poll(START, 1000).events) == 100
    assert_complete(store, files)


def test_second_export_changes_nothing(store, files):
    export_events(store, HEAD, files, BEFORE, NOW_MS)
    assert export_events(store, HEAD, files, BEFORE, NOW_MS).n_events == 0
    assert_complete(store, files)


def test_export_that_failed_before_the_deletion_is_completed(store, files, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store, "delete_events", lambda before_ms, cursor: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export_events(store, HEAD, files, BEFORE, NOW_MS)
    assert_complete(store, files)
    assert export_events(store, HEAD, files, BEFORE, NOW_MS).n_events == 200
    assert_complete(store, files)


def test_later_export_of_a_day_keeps_its_earlier_events(store, files):
    export_events(store, HEAD, files, BEFORE, NOW_MS)
    store.append(impressions(0, 50, first_number=100), count_events)
    export_events(store, HEAD, files, BEFORE, NOW_MS)
    assert sum(len(events) for events in files.read(FIRST_DAY, HEAD)) == 150
    assert len(read_events(store, HEAD, files, 0)) == 350


def test_damaged_file_keeps_the_events_in_the_store(store, files, monkeypatch):
    write = EventFiles.write

    def write_one_event_less(self, day, batches, head):
        write(self, day, (events.take(slice(1, None)) for events in batches), head)

    monkeypatch.setattr(EventFiles, "write", write_one_event_less)
    with pytest.raises(Exception, match="does not contain what was written"):
        export_events(store, HEAD, files, BEFORE, NOW_MS)
    assert len(store.poll(START, 1000).events) == 300


def test_export_of_days_that_may_still_get_events_is_refused(store, files):
    with pytest.raises(ValueError, match="at most the days before 2024-10-06"):
        export_events(store, HEAD, files, BEFORE + datetime.timedelta(days=1), NOW_MS)


def test_read_events_returns_events_since_a_time(store, files):
    export_events(store, HEAD, files, BEFORE, NOW_MS)
    from_ms = (FIRST_DAY + 1) * DAY_MS + 30
    assert len(read_events(store, HEAD, files, from_ms)) == 170
    assert len(read_events(None, HEAD, files, from_ms)) == 70
    assert len(read_events(store, HEAD, None, from_ms)) == 100


def test_events_that_an_export_moves_meanwhile_are_read(store, files, monkeypatch):
    days = files.days

    def days_before_an_export():
        monkeypatch.undo()
        listed = days()
        export_events(store, HEAD, files, BEFORE, NOW_MS)
        return listed

    monkeypatch.setattr(files, "days", days_before_an_export)
    assert_complete(store, files)


def test_second_export_during_the_first_loses_no_event(store, files, monkeypatch):
    write = files.write

    def write_after_another_export(day, batches, head):
        monkeypatch.undo()
        with pytest.raises(Unavailable, match="another export"):
            export_events(store, HEAD, files, BEFORE, NOW_MS)
        write(day, batches, head)

    monkeypatch.setattr(files, "write", write_after_another_export)
    export_events(store, HEAD, files, BEFORE, NOW_MS)
    assert_complete(store, files)
