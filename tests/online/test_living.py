"""What follows a log goes on from where the store is, whatever the store did meanwhile."""

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

FOLDED = StoreContents(platform(), HEAD)


class Failing(MemoryStore):
    """A store that takes ``left`` more commits, and then is gone until it is told otherwise."""

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
    return Events.of("exposure", source=1, number=number, time_ms=START, **some)


def entries(store) -> dict[bytes, bytes]:
    return {key: value for key, value in store.scan(LOWEST, HIGHEST) if key != CURSOR}


@pytest.mark.parametrize("commits", [0, 1, 3])
def test_a_store_that_comes_back_empty_and_is_gone_again_while_it_is_filled_loses_nothing(
    tmp_path, monkeypatch, commits
):
    monkeypatch.setattr(EventApplier.follow, "__defaults__", (10,))  # a part at a time
    store, log = Failing(), tmp_path / "log"
    with EventLogWriter(log, HEAD, part_events=10) as writer:
        since = ItemsSince(FOLDED.base, lambda column, text: -1, lambda columns, number: "")
        live = Follower(store, FOLDED, log, since, lambda works, changed: None, None)
        for first in range(0, 50, 10):
            writer.append(shown(first), START + 1)
        live.follow()
        store.lose_all()
        writer.append(shown(50), START + 1)
        store.left = commits
        with pytest.raises(Unavailable, match="gone"):
            live.follow()
        store.left = 1 << 60
        live.follow()
    rebuilt = MemoryStore()
    catch_up(rebuilt, FOLDED, log)
    assert entries(store) == entries(rebuilt)


def told(kind: str, number: int, work: int, **columns: object) -> Events:
    return Events.of(kind, source=1, number=number, time_ms=START + number, item_id=work, **columns)


@pytest.mark.parametrize("seen_by_the_store", [False, True])
def test_a_live_that_begins_where_another_is_knows_what_that_one_knows_and_what_came_since(
    tmp_path, seen_by_the_store
):
    """Works are uploaded and deleted, before the first one's last look and after; then its heir reads no life
    anew."""
    store, log = Failing(), tmp_path / "log"

    def begun(store, known=None):
        since = ItemsSince(FOLDED.base, lambda column, text: -1, lambda columns, number: "")
        return Follower(store, FOLDED, log, since, lambda works, changed: None, None, known)

    def lives(live):
        works = live.view(-1)[0].works
        known = dict(live.known()[0].lives.works)
        return known, works.added.works.ids.tolist(), works.gone.tolist(), works.counters.tolist()

    with EventLogWriter(log, HEAD) as writer:
        first = begun(store)
        assert first.known() is None
        first.follow()
        for event in (
            told("upload", 100, 901, creator_id=3),
            told("upload", 101, 902, creator_id=3),
            shown(0),
        ):
            writer.append(event, START + 200)
        first.look() if not seen_by_the_store else first.follow()
        for event in (told("delete", 102, 901), told("upload", 103, 903, creator_id=4), shown(10)):
            writer.append(event, START + 200)
        if seen_by_the_store:
            catch_up(store, FOLDED, log)
        heir = begun(store, first.known())
        heir.follow()
    afresh = begun(MemoryStore())
    afresh.follow()
    assert lives(heir) == lives(afresh)
    assert lives(heir)[1:3] == ([902, 903], [901])


class TestAnOlderBundleThatIsRestored:
    """Its moment is before events that the store passed over, since the later bundle had them."""

    LATER = StoreContents(replace(FOLDED.base, time_ms=START + 50), HEAD)

    def live(self, folded, store, log):
        since = ItemsSince(folded.base, lambda column, text: -1, lambda columns, number: "")
        return Follower(store, folded, log, since, lambda works, changed: None, None)

    def test_it_has_the_events_between_from_the_log(self, tmp_path):
        store, log = MemoryStore(), tmp_path / "log"
        with EventLogWriter(log, HEAD) as writer:
            writer.append(shown(0), START + 1)
            writer.append(replace(shown(20), time_ms=np.full(10, START + 60)), START + 60)
            self.live(self.LATER, store, log).follow()
            self.live(FOLDED, store, log).follow()
        rebuilt = MemoryStore()
        catch_up(rebuilt, FOLDED, log)
        assert entries(store) == entries(rebuilt)

    def test_nothing_is_made_again_where_nothing_was_passed_over(self, tmp_path):
        store, log = MemoryStore(), tmp_path / "log"
        with EventLogWriter(log, HEAD) as writer:
            writer.append(replace(shown(20), time_ms=np.full(10, START + 60)), START + 60)
            self.live(self.LATER, store, log).follow()
            store.commit({b"mine": b"1"}, store.read([CURSOR])[0])
            self.live(FOLDED, store, log).follow()
        assert store.read([b"mine"]) == [b"1"]

    def test_what_the_store_alone_has_of_retired_hours_stays(self, tmp_path, caplog):
        store, log = MemoryStore(), tmp_path / "log"
        hour = 3_600_000
        with EventLogWriter(log, HEAD, part_events=10) as writer:
            writer.append(replace(shown(20), time_ms=np.full(10, START + 60)), START + 60)
            writer.append(shown(0), START + 2 * hour)
        self.live(self.LATER, store, log).follow()
        retire(log, START + hour)
        before = entries(store)
        self.live(FOLDED, store, log).follow()
        assert entries(store) == before
        assert "retired" in caplog.text

    def test_what_the_store_alone_has_stays_also_where_the_log_begins_before_the_restored_bundle(
        self, tmp_path, caplog
    ):
        store, log, hour = MemoryStore(), tmp_path / "log", 3_600_000
        restored = StoreContents(replace(FOLDED.base, time_ms=START + 5 * hour), HEAD)
        later = StoreContents(replace(FOLDED.base, time_ms=START + 7 * hour), HEAD)
        with EventLogWriter(log, HEAD, part_events=10) as writer:
            writer.append(
                Events.of("block", source=1, number=np.array([90]), time_ms=START, item_id=WORKS[:1]), START
            )
            writer.append(replace(shown(0), time_ms=np.full(10, START + 3 * hour)), START + 3 * hour)
            writer.append(replace(shown(20), time_ms=np.full(10, START + 6 * hour)), START + 6 * hour)
        self.live(later, store, log).follow()
        retire(log, START + 2 * hour)
        before = entries(store)
        self.live(restored, store, log).follow()
        assert entries(store) == before
        assert "retired" in caplog.text
