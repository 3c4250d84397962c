"""SIGKILL at random moments of a process that appends to the log and applies it to LMDB.

Acknowledged appends are in the log, once and whole. The store equals a rebuild of the log up to its cursor.
"""

from __future__ import annotations

import os
import random
import signal

import numpy as np
import pytest
from event_platform import HEAD, START, USERS, WORKS, everything, platform

from karec.aggregates.events import Events
from karec.online.apply_events import EventApplier
from karec.online.event_log.append import EventLogWriter
from karec.online.event_log.parts import all_parts, read_part
from karec.online.event_log.reader import read_events
from karec.online.event_log.tail import EventTail
from karec.online.recovery import catch_up
from karec.online.store.contents import StoreContents
from karec.online.store.embedded import LmdbStore
from karec.online.store.memory import MemoryStore

CONTENTS = StoreContents(platform(), HEAD)
LOGS, KILLS = 25, 8  # 200 moments; a log that is read whole after each kill stays short
NOW = START + 1000


def batch(number: int) -> Events:
    """Three impressions and a follow, of the append with this number."""
    rng = np.random.default_rng(number)
    numbers = 4 * number + np.arange(4)
    columns = {
        "source": 1,
        "number": numbers,
        "time_ms": START + rng.integers(0, 1000, 4),
        "user_id": rng.choice(USERS, 4),
    }
    return Events.from_columns(
        np.array([0, 0, 0, 3], np.uint8),
        **columns,
        item_id=np.where(np.arange(4) < 3, rng.choice(WORKS, 4), -1),
        creator_id=np.where(np.arange(4) < 3, -1, 3),
        labels=np.where(np.arange(4) < 3, rng.integers(0, 16, 4), 0),
        scene=rng.integers(-1, 3, 4),
        request_id=np.array([f"request {number}"] * 4, object),
    )


def append_forever(folder, first: int, acknowledgements: int) -> None:
    """Appends and applies; writes the number of each append to the pipe ``acknowledgements``."""
    log = EventLogWriter(folder / "log", HEAD, fsync="seal", part_events=60)
    store = LmdbStore(folder / "state")
    writer = EventApplier(store, CONTENTS)
    tail = EventTail(folder / "log", writer.cursor)
    number = first
    while True:
        log.append(batch(number), NOW)
        os.write(acknowledgements, number.to_bytes(4))
        writer.follow(tail)
        if number % 7 == 0:  # a repeat
            log.append(batch(number), NOW)
        number += 1


def kill_writer(folder, first: int, after: int, spin: int) -> int:
    """Kills a writer some time after ``after`` acknowledged appends. Returns the number of the last one."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            append_forever(folder, first, write)
        finally:
            os._exit(1)
    os.close(write)
    for _ in range(after):
        if not os.read(read, 4):
            break
    sum(range(spin))  # a random delay
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the process ended by itself"
    rest = b""
    while more := os.read(read, 1 << 16):
        rest += more
    os.close(read)
    return first - 1 + after + len(rest) // 4


def up_to(log, cursor) -> Events:
    """The events of the log before a cursor."""
    found = [Events.empty()]
    for part in all_parts(log) if log.exists() else ():
        number, taken = cursor.places.get(part.writer, (-1, 0))
        if part.number <= number:
            events = read_part(part, HEAD)
            found.append(events if part.number < number else events.take(slice(taken)))
    return Events.concatenate(found)


def test_killed_writers_leave_acknowledged_events_and_an_equal_store(tmp_path):
    pytest.importorskip("lmdb")
    random_ = random.Random(16)
    n_appended = 0
    for number in range(LOGS):
        folder = tmp_path / str(number)
        folder.mkdir()
        n = 0
        for _ in range(KILLS):
            n = _kill_and_count_appends(folder, n, random_)
        store, again = LmdbStore(folder / "state"), MemoryStore()
        EventLogWriter(folder / "log", HEAD).close()
        catch_up(store, CONTENTS, folder / "log")
        assert catch_up(again, CONTENTS, folder / "log").counts["folded"] == 4 * n
        assert everything(store) == everything(again)
        store.close()
        n_appended += n
    assert n_appended > LOGS * KILLS


def _kill_and_count_appends(folder, first: int, random_: random.Random) -> int:
    """Returns the number of appends in the log after one more kill, and checks log and store."""
    acknowledged = kill_writer(folder, first, random_.choice((0, 1, 2, 5)), random_.randrange(60_000))
    read = (
        read_events(folder / "log", 0, 1 << 60) if (folder / "log" / "log.json").exists() else Events.empty()
    )
    n = len(read) // 4
    assert n in (acknowledged + 1, acknowledged + 2)  # one more if it was killed before the acknowledgement
    expected = Events.concatenate([batch(number) for number in range(n)] or [Events.empty()]).sort_unique()
    assert read.number.tolist() == expected.number.tolist()
    assert read.labels.tolist() == expected.labels.tolist()
    assert read.request_id.tolist() == expected.request_id.tolist()
    store, again = LmdbStore(folder / "state"), MemoryStore()
    writer = EventApplier(store, CONTENTS)
    EventApplier(again, CONTENTS).apply(up_to(folder / "log", writer.cursor), writer.cursor)
    assert everything(store) == everything(again)
    store.close()
    return n
