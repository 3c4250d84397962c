"""A follower has the state of items as of its last poll, whatever happened to the store meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from event_platform import HEAD, START, USERS, WORKS, platform

from karec.aggregates.events import WORK, Events
from karec.erasure import ErasedIds
from karec.errors import Unavailable
from karec.online.apply_events import EventApplier
from karec.online.erase import erase_from_store
from karec.online.follow import Follower
from karec.online.followed_items import FollowedItems
from karec.online.item_changes import ItemChanges
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import START as START_CURSOR
from karec.online.store.online_store import StaleCursor
from karec.online.store.sqlite import SqliteStore

CONTENTS = StoreContents(platform(), HEAD)
APPLIER = EventApplier(CONTENTS)


def shown(first: int) -> Events:
    number = np.arange(first, first + 10)
    some = {"user_id": USERS[number % len(USERS)], "item_id": WORKS[number % len(WORKS)], "labels": 1}
    return Events.from_columns("impression", source=1, number=number, time_ms=START, **some)


def item_event(kind: str, number: int, work: int, **columns: object) -> Events:
    return Events.from_columns(kind, source=1, number=number, time_ms=START + number, item_id=work, **columns)


def make_follower(store, state=None) -> Follower:
    item_changes = ItemChanges(CONTENTS.base, lambda column, text: -1, lambda columns, item: "")
    works = FollowedItems(CONTENTS, item_changes, lambda items, update: None)
    return Follower(store, [works], None, state)


def content_of(follower):
    items = follower.items
    lives = dict(follower.copy_state().items_states[WORK].lifecycle.items)
    counters = dict(zip(items.counter_ids.tolist(), items.counters.tolist(), strict=True))
    return lives, sorted(items.updates.works.ids.tolist()), items.hidden_ids.tolist(), counters


def fresh_content(store):
    follower = make_follower(store)
    follower.poll()
    return content_of(follower)


def test_follower_continues_from_the_state_of_another():
    """Items are uploaded, deleted and counted before and after the first follower's last poll."""
    store = SqliteStore(None)
    first = make_follower(store)
    assert first.copy_state() is None and not first.is_ready
    first.poll()
    for events in (
        item_event("upload", 100, 901, creator_id=3),
        item_event("upload", 101, 902, creator_id=3),
        shown(0),
    ):
        store.append(events, APPLIER)
    first.poll()
    for events in (item_event("delete", 102, 901), item_event("upload", 103, 903, creator_id=4), shown(10)):
        store.append(events, APPLIER)
    second = make_follower(store, first.copy_state())
    second.poll()
    assert content_of(second) == fresh_content(store)
    assert content_of(second)[1:3] == ([902, 903], [901])
    first.poll()
    assert content_of(first) == content_of(second)


def test_follower_with_another_item_type_reads_its_lifecycle_from_the_store():
    store, songs = SqliteStore(None), StoreContents(platform(), HEAD, "song")
    applier = EventApplier(StoreContents(platform(), HEAD, others={"song": songs}))
    first = make_follower(store)
    first.poll()
    song = int(WORKS[1])
    store.append(item_event("block", 100, int(WORKS[0])), applier)
    store.append(item_event("block", 101, song, item_type="song"), applier)
    first.poll()
    followed = [
        FollowedItems(
            contents, ItemChanges(contents.base, lambda *_: -1, lambda *_: ""), lambda items, update: None
        )
        for contents in (CONTENTS, songs)
    ]
    later = Follower(store, followed, None, first.copy_state())
    later.poll()
    hidden = [later.view(5, name)[0].items.hidden_ids.tolist() for name in (WORK, "song")]
    assert hidden == [[int(WORKS[0])], [song]]


class Failing(SqliteStore):
    """Store whose ``poll`` or ``read_items`` raises ``error`` if there is one."""

    error: Exception | None = None

    def poll(self, cursor, max_events):
        if isinstance(self.error, StaleCursor):
            self.error, error = None, self.error
            raise error
        return super().poll(cursor, max_events)

    def read_items(self, keys):
        if self.error:
            raise self.error
        return super().read_items(keys)


def test_failed_poll_is_repeated_without_counting_twice():
    store = Failing(None)
    follower = make_follower(store)
    follower.poll()
    store.append(shown(0), APPLIER)
    store.error = Unavailable("gone")
    with pytest.raises(Unavailable):
        follower.poll()
    assert follower.view(5)[1] == "gone"
    store.error = None
    assert follower.poll() == 10
    assert content_of(follower) == fresh_content(store)
    assert follower.view(5)[1] is None


def test_follower_reads_a_snapshot_after_a_pause_of_the_retention(monkeypatch):
    store = SqliteStore(None)
    follower = make_follower(store)
    follower.poll()
    for events in (item_event("block", 100, int(WORKS[0])), shown(0)):
        store.append(events, APPLIER)
    cursor = store.poll(START_CURSOR, 100).cursor
    assert (
        store.delete_events(lambda events: events.time_ms < START + 1000, cursor) == 11
    )  # as an export does
    monkeypatch.setattr(Follower, "lag_s", lambda self: CONTENTS.head.late_ms / 1e3 + 1)
    follower.poll()
    assert content_of(follower) == fresh_content(store)
    assert int(WORKS[0]) in follower.items.hidden_ids


def test_stale_cursor_makes_the_follower_read_a_snapshot():
    store = Failing(None)
    follower = make_follower(store)
    for number in range(3):
        store.append(shown(10 * number), APPLIER)
        store.append(item_event("block", 100 + number, int(WORKS[number])), APPLIER)
        store.error = StaleCursor("restarted")
        follower.poll()
        assert content_of(follower) == fresh_content(store)


@pytest.mark.parametrize("item", [70, 901], ids=["of the base", "uploaded"])
def test_erased_item_has_no_values_in_a_running_follower_and_returns_without(item):
    store = SqliteStore(None)
    follower = make_follower(store)
    shown_once = {"user_id": 5, "item_id": item, "labels": 1, "source": 1}
    store.append(item_event("upload", 100, 901, creator_id=3), APPLIER)
    store.append(Events.from_columns("impression", number=1, time_ms=START, **shown_once), APPLIER)
    follower.poll()
    assert follower.items.find_counters(np.array([item]))[1].any()
    erase_from_store(store, CONTENTS, ErasedIds("item", np.array([item]), START + 500))
    follower.poll()
    assert item in follower.items.hidden_ids and item not in follower.items.updates.works.ids
    places, counters = follower.items.find_counters(np.array([item]))
    assert len(places) == (item in WORKS) and not counters.any()
    store.append(item_event("upload", 600, item, creator_id=9), APPLIER)
    store.append(Events.from_columns("impression", number=2, time_ms=START + 601, **shown_once), APPLIER)
    follower.poll()
    successor = make_follower(store, follower.copy_state())
    successor.poll()
    works = follower.items.updates.works
    (row,) = works.lookup(np.array([item]))
    assert (works["creator_id"][row], works["count_click"][row]) == (9, 0)
    assert item not in follower.items.hidden_ids
    exposed = CONTENTS.counters.index("count_exposed")
    assert follower.items.find_counters(np.array([item]))[1][0, exposed] == 1
    assert content_of(follower) == content_of(successor) == fresh_content(store)


def test_erasure_of_an_item_indexes_no_other_item_again():
    store, updates = SqliteStore(None), []
    item_changes = ItemChanges(CONTENTS.base, lambda column, text: -1, lambda columns, item: "")
    works = FollowedItems(CONTENTS, item_changes, lambda items, update: updates.append(update))
    follower = Follower(store, [works], None)
    for item in (901, 902):
        store.append(item_event("upload", item, item, creator_id=3), APPLIER)
    follower.poll()
    updates.clear()
    erase_from_store(store, CONTENTS, ErasedIds("item", np.array([901]), START + 1000))
    follower.poll()
    assert updates and not any(len(update.rows) for update in updates)
    assert follower.items.updates.works.ids.tolist() == [902]
