"""Saves and loads a store; rebuilds a store from the log, empty or from a saved file."""

from __future__ import annotations

import numpy as np
import pytest
from event_platform import HEAD, START, USERS, WORKS, everything, platform

from karec.aggregates.events import Events
from karec.errors import DataError
from karec.online.event_log.append import EventLogWriter
from karec.online.event_log.retention import retire
from karec.online.recovery import catch_up
from karec.online.saving import load_store, save_store
from karec.online.store.contents import StoreContents
from karec.online.store.memory import MemoryStore
from karec.online.store.records import HIGHEST, LOWEST
from karec.online.store.store import CURSOR
from karec.times import HOUR_MS

CONTENTS = StoreContents(platform(), HEAD)


def shown(n: int, first: int, time_ms: int) -> Events:
    rng = np.random.default_rng(first)
    columns = {
        "user_id": rng.choice(USERS, n),
        "item_id": rng.choice(WORKS, n),
        "labels": rng.integers(0, 16, n),
    }
    return Events.from_columns(
        "exposure", source=1, number=np.arange(first, first + n), time_ms=time_ms, **columns
    )


def entries(store) -> dict[bytes, bytes]:
    return dict(store.scan(LOWEST, HIGHEST))


@pytest.fixture
def log(tmp_path):
    """Three hours of events; two writers wrote those of the second hour."""
    with EventLogWriter(tmp_path / "log", HEAD) as one, EventLogWriter(tmp_path / "log", HEAD) as other:
        for hour in range(3):
            moment = START + hour * HOUR_MS
            events = shown(300, 1000 * hour, moment)
            (other if hour == 1 else one).append(events, moment + 5)
            one.append(events.take(slice(290, 300)), moment + 6)  # again
    return tmp_path / "log"


def test_loaded_store_equals_the_saved_one(tmp_path, log):
    store, other = MemoryStore(), MemoryStore()
    catch_up(store, CONTENTS, log)
    n = save_store(store, tmp_path / "saved")
    assert load_store(tmp_path / "saved", other) == n == len(entries(store))
    assert entries(other) == entries(store)
    with pytest.raises(ValueError, match="not empty"):
        load_store(tmp_path / "saved", other)


def test_rebuilt_store_equals_the_followed_one(log, tmp_path):
    followed, rebuilt = MemoryStore(), MemoryStore()
    writer = catch_up(followed, CONTENTS, log)
    with EventLogWriter(log, HEAD) as more:
        more.append(shown(200, 5000, START + 3 * HOUR_MS), START + 3 * HOUR_MS)
    assert catch_up(followed, CONTENTS, log).counts["folded"] == 200
    assert catch_up(rebuilt, CONTENTS, log).counts["folded"] == writer.counts["folded"] + 200 == 3 * 300 + 200
    assert everything(followed) == everything(rebuilt)


def test_saved_store_continues_a_retired_log(log, tmp_path):
    whole, saved = MemoryStore(), MemoryStore()
    catch_up(saved, CONTENTS, log)
    save_store(saved, tmp_path / "saved")
    assert len(retire(log, START + 3 * HOUR_MS)) == 3
    with EventLogWriter(log, HEAD) as more:
        more.append(shown(200, 5000, START + 3 * HOUR_MS), START + 3 * HOUR_MS)
    load_store(tmp_path / "saved", whole)
    catch_up(whole, CONTENTS, log)
    catch_up(saved, CONTENTS, log)
    assert everything(whole) == everything(saved)


def test_load_refuses_a_damaged_file(tmp_path, log):
    store = MemoryStore()
    catch_up(store, CONTENTS, log)
    save_store(store, tmp_path / "saved")
    whole = (tmp_path / "saved").read_bytes()
    rng = np.random.default_rng(0)
    for place in [0, 7, 8, len(whole) - 1, len(whole) - 8, *rng.integers(0, len(whole), 60).tolist()]:
        for damaged in (whole[:place], bytes([*whole[:place], whole[place] ^ 1, *whole[place + 1 :]])):
            (tmp_path / "damaged").write_bytes(damaged)
            empty = MemoryStore()
            with pytest.raises(DataError, match=r"damaged (is|after)|no saved state store"):
                load_store(tmp_path / "damaged", empty)
            assert empty.read([CURSOR]) == [None]


def test_save_fails_if_the_store_is_written_to(tmp_path):
    class Written(MemoryStore):
        def scan(self, start, stop):
            self.commit({CURSOR: b"moved"}, None)
            return super().scan(start, stop)

    with pytest.raises(ValueError, match="stop its writer first"):
        save_store(Written(), tmp_path / "saved")
    assert not any(tmp_path.iterdir())


def test_partly_loaded_store_is_refused(tmp_path, log, monkeypatch):
    """Its counters and the ids that were counted would not fit each other."""
    monkeypatch.setattr("karec.online.saving.COMMITTED_AT_ONCE", 10_000)
    store, part, whole = MemoryStore(), MemoryStore(), MemoryStore()
    catch_up(store, CONTENTS, log)
    save_store(store, tmp_path / "saved")
    (tmp_path / "cut").write_bytes((tmp_path / "saved").read_bytes()[:-50])
    with pytest.raises(DataError, match=r"is (cut short|damaged) after"):
        load_store(tmp_path / "cut", part)
    assert entries(part)
    with pytest.raises(DataError, match="begin an empty store"):
        catch_up(part, CONTENTS, log)
    load_store(tmp_path / "saved", whole)
    assert entries(whole) == entries(store)
