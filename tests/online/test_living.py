"""A follower continues from the store's position, whatever happened to the store meanwhile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from event_platform import HEAD, START, USERS, WORKS, platform

from karec.aggregates.events import Events
from karec.errors import Unavailable
from karec.online.apply_events import EventApplier
from karec.online.event_log.append import EventLogWriter
from karec.online.event_log.retention import retire
from karec.online.follow import Follower
from karec.online.items_since import ItemsSince
from karec.online.recovery import catch_up
from karec.online.store.contents import StoreContents
from karec.online.store.memory import MemoryStore
from karec.online.store.records import HIGHEST, LOWEST
from karec.online.store.store import CURSOR

CONTENTS = StoreContents(platform(), HEAD)


class Failing(MemoryStore):
    """Store that accepts ``left`` more commits and then raises Unavailable."""

    left = 1 << 60

    def commit(self, entries, was):
        if not self.left:
            raise Unavailable("gone")
        super().commit(entries, was)
        self.left -= 1

    def lose_all(self):
        self.commit(dict.fromkeys(key for key, _ in self.scan(LOWEST, HIGHEST)), self.read([CURSOR])[0])


def shown(first: int) -> Events:
    number = np.arange(first, first + 10)
    some = {"user_id": USERS[number % len(USERS)], "item_id": WORKS[number % len(WORKS)], "labels": 1}
    return Events.from_columns("exposure", source=1, number=number, time_ms=START, **some)


def entries(store) -> dict[bytes, bytes]:
    return {key: value for key, value in store.scan(LOWEST, HIGHEST) if key != CURSOR}


@pytest.mark.parametrize("commits", [0, 1, 3])
def test_store_that_was_emptied_and_fails_again_is_rebuilt(tmp_path, monkeypatch, commits):
    monkeypatch.setattr(EventApplier.follow, "__defaults__", (10,))  # several commits
    store, log = Failing(), tmp_path / "log"
    with EventLogWriter(log, HEAD, part_events=10) as writer:
        items_since = ItemsSince(CONTENTS.base, lambda column, text: -1, lambda columns, item: "")
        follower = Follower(store, CONTENTS, log, items_since, lambda items, update: None, None)
        for first in range(0, 50, 10):
            writer.append(shown(first), START + 1)
        follower.follow()
        store.lose_all()
        writer.append(shown(50), START + 1)
        store.left = commits
        with pytest.raises(Unavailable, match="gone"):
            follower.follow()
        store.left = 1 << 60
        follower.follow()
    rebuilt = MemoryStore()
    catch_up(rebuilt, CONTENTS, log)
    assert entries(store) == entries(rebuilt)


def item_event(kind: str, number: int, work: int, **columns: object) -> Events:
    return Events.from_columns(kind, source=1, number=number, time_ms=START + number, item_id=work, **columns)


@pytest.mark.parametrize("is_in_store", [False, True])
def test_follower_continues_from_the_state_of_another(tmp_path, is_in_store):
    """Items are uploaded and deleted before and after the first follower's last poll."""
    store, log = Failing(), tmp_path / "log"

    def make_follower(store, state=None):
        items_since = ItemsSince(CONTENTS.base, lambda column, text: -1, lambda columns, item: "")
        return Follower(store, CONTENTS, log, items_since, lambda items, update: None, None, state)

    def content_of(follower):
        items = follower.view(-1)[0].items
        lives = dict(follower.copy_state()[0].lifecycle.items)
        return lives, items.updates.works.ids.tolist(), items.hidden_ids.tolist(), items.counters.tolist()

    with EventLogWriter(log, HEAD) as writer:
        first = make_follower(store)
        assert first.copy_state() is None
        first.follow()
        for event in (
            item_event("upload", 100, 901, creator_id=3),
            item_event("upload", 101, 902, creator_id=3),
            shown(0),
        ):
            writer.append(event, START + 200)
        first.poll() if not is_in_store else first.follow()
        for event in (
            item_event("delete", 102, 901),
            item_event("upload", 103, 903, creator_id=4),
            shown(10),
        ):
            writer.append(event, START + 200)
        if is_in_store:
            catch_up(store, CONTENTS, log)
        second = make_follower(store, first.copy_state())
        second.follow()
    fresh = make_follower(MemoryStore())
    fresh.follow()
    assert content_of(second) == content_of(fresh)
    assert content_of(second)[1:3] == ([902, 903], [901])


class TestRestoredOlderBundle:
    """The store skipped events after this bundle's moment, since a later bundle contained them."""

    LATER = StoreContents(replace(CONTENTS.base, time_ms=START + 50), HEAD)

    def follower(self, contents, store, log):
        items_since = ItemsSince(contents.base, lambda column, text: -1, lambda columns, item: "")
        return Follower(store, contents, log, items_since, lambda items, update: None, None)

    def test_store_is_rebuilt_with_the_skipped_events(self, tmp_path):
        store, log = MemoryStore(), tmp_path / "log"
        with EventLogWriter(log, HEAD) as writer:
            writer.append(shown(0), START + 1)
            writer.append(replace(shown(20), time_ms=np.full(10, START + 60)), START + 60)
            self.follower(self.LATER, store, log).follow()
            self.follower(CONTENTS, store, log).follow()
        rebuilt = MemoryStore()
        catch_up(rebuilt, CONTENTS, log)
        assert entries(store) == entries(rebuilt)

    def test_store_is_kept_if_no_event_was_skipped(self, tmp_path):
        store, log = MemoryStore(), tmp_path / "log"
        with EventLogWriter(log, HEAD) as writer:
            writer.append(replace(shown(20), time_ms=np.full(10, START + 60)), START + 60)
            self.follower(self.LATER, store, log).follow()
            store.commit({b"mine": b"1"}, store.read([CURSOR])[0])
            self.follower(CONTENTS, store, log).follow()
        assert store.read([b"mine"]) == [b"1"]

    def test_store_is_kept_if_hours_were_retired(self, tmp_path, caplog):
        store, log = MemoryStore(), tmp_path / "log"
        hour = 3_600_000
        with EventLogWriter(log, HEAD, part_events=10) as writer:
            writer.append(replace(shown(20), time_ms=np.full(10, START + 60)), START + 60)
            writer.append(shown(0), START + 2 * hour)
        self.follower(self.LATER, store, log).follow()
        retire(log, START + hour)
        before = entries(store)
        self.follower(CONTENTS, store, log).follow()
        assert entries(store) == before
        assert "retired" in caplog.text

    def test_store_is_kept_if_some_later_hours_were_retired(self, tmp_path, caplog):
        store, log, hour = MemoryStore(), tmp_path / "log", 3_600_000
        restored = StoreContents(replace(CONTENTS.base, time_ms=START + 5 * hour), HEAD)
        later = StoreContents(replace(CONTENTS.base, time_ms=START + 7 * hour), HEAD)
        with EventLogWriter(log, HEAD, part_events=10) as writer:
            writer.append(
                Events.from_columns(
                    "block", source=1, number=np.array([90]), time_ms=START, item_id=WORKS[:1]
                ),
                START,
            )
            writer.append(replace(shown(0), time_ms=np.full(10, START + 3 * hour)), START + 3 * hour)
            writer.append(replace(shown(20), time_ms=np.full(10, START + 6 * hour)), START + 6 * hour)
        self.follower(later, store, log).follow()
        retire(log, START + 2 * hour)
        before = entries(store)
        self.follower(restored, store, log).follow()
        assert entries(store) == before
        assert "retired" in caplog.text
