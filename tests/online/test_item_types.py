"""Events on items of other types than works: blocks, rooms that open and close, lists of users, bad input."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import numpy as np
import pytest
from event_platform import HEAD, START, USERS, WORKS, everything, platform
from nine_scenes import ITEM_TYPES, SCENES, nine_scenes_config

import karec
from karec.aggregates.events import Events
from karec.bundle import Bundle
from karec.config import open_hot_swap
from karec.config.check import config_mistakes
from karec.config.online_store import store_lines
from karec.errors import ConfigError
from karec.online import followed_items
from karec.online.apply_events import EventApplier
from karec.online.follow import Follower
from karec.online.followed_items import FollowedItems
from karec.online.item_changes import ItemChanges
from karec.online.read_state import StateReader
from karec.online.store.contents import StoreContents
from karec.online.store.sqlite import SqliteStore

USER, HOST, HOUR_MS, LONG_S = 3, 5003, 3_600_000, 60
NEW = 70_100
LIVE, ROOM = 70_000, 80_000  # the first rooms; room n belongs to the creator 5000 + n


def page_of(live, scene, k=50):
    return live.run(karec.Request(USER, k, scene=scene)).candidates.ids.tolist()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end


def open_rooms(live) -> None:
    rows = [
        {"event": "open", "item_type": name, "item_id": first + n, "time_ms": now_ms() - 1000}
        for name, first in (("live", LIVE), ("room", ROOM))
        for n in range(9)
    ]
    assert not live.record(rows).refused


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return nine_scenes_config(tmp_path_factory.mktemp("types"))


@pytest.fixture
def live(path):
    """A cascade with an empty store, in which all rooms are open."""
    for file in path.parent.glob("online.db*"):
        file.unlink()
    with open_hot_swap(path, None) as live:
        open_rooms(live)
        yield live


def first_items(live) -> dict[str, int]:
    return {scene: page_of(live, scene)[0] for scene in SCENES}


def test_blocked_items_are_on_no_page_after_a_start_and_while_the_store_is_away(live, path):
    blocked = first_items(live)
    rows = [
        {"event": "block", "item_type": ITEM_TYPES.get(scene, "work"), "item_id": item}
        for scene, item in blocked.items()
    ]
    assert live.record(rows).events == len(SCENES)
    with open_hot_swap(path, None) as later:
        pages = {scene: page_of(later, scene) for scene in SCENES}
        assert all(pages[scene] and item not in pages[scene] for scene, item in blocked.items())
        (path.parent / "online.db").rename(path.parent / "away")
        for scene, item in blocked.items():
            page = later.run(karec.Request(USER, 50, scene=scene))
            assert page.degraded[0] == "request.online_store", scene
            assert len(page) and item not in page.candidates.ids
        (path.parent / "away").rename(path.parent / "online.db")


@pytest.mark.parametrize(
    "row", [{"creator_id": HOST}, {"user_id": HOST}, {"item_type": "creator", "item_id": HOST}]
)
def test_blocked_creator_or_user_and_their_items_are_on_no_page(live, row):
    def made_by_host():
        with live.cascades["home"].index.pinned() as view:
            works = view.ids[view.present & (view.columns["creator_id"] == HOST)].tolist()
        hidden = {*works, HOST, LIVE + 3, ROOM + 3}
        return [item for scene in SCENES for item in page_of(live, scene) if item in hidden]

    assert {HOST, LIVE + 3, ROOM + 3} < {*made_by_host()}
    assert live.record([{"event": "block", "time_ms": now_ms() - 1000, **row}]).events == 1
    assert not made_by_host()
    assert live.record([{"event": "unblock", **row}]).events == 1
    assert {HOST, LIVE + 3, ROOM + 3} < {*made_by_host()}


@pytest.mark.parametrize("event", ["upload", "edit"])
@pytest.mark.parametrize("values", [{"creator_id": HOST + 1}, {"columns": {"creator_id": HOST + 1}}])
def test_block_of_a_creator_holds_whatever_creator_an_event_of_it_names(live, event, values):
    row = {"event": event, "item_type": "creator", "item_id": HOST, **values}
    assert live.record([row, {"event": "block", "creator_id": HOST}]).events == 2
    assert HOST not in page_of(live, "creators")


@pytest.mark.parametrize(("scene", "first"), [("live", LIVE), ("room", ROOM)])
def test_room_is_on_pages_from_open_until_close(live, path, scene, first):
    ids = [*range(first, first + 9)]
    assert sorted(page_of(live, scene)) == ids
    closed = [{"event": "close", "item_type": scene, "item_id": item} for item in ids[2:]]
    assert live.record(closed).events == 7
    assert sorted(page_of(live, scene)) == ids[:2]
    path.write_text(path.read_text() + "\n")
    assert live.reload()
    assert sorted(page_of(live, scene)) == ids[:2]
    with open_hot_swap(path, None) as later:
        assert sorted(page_of(later, scene)) == ids[:2]


def test_room_closes_itself_after_open_minutes_also_while_the_store_is_away(live, path, monkeypatch):
    live.record([{"event": "open", "item_type": "live", "item_id": LIVE, "time_ms": now_ms() + 1000}])
    monkeypatch.setattr(followed_items, "_now_ms", lambda: now_ms() + HOUR_MS - 60_000)
    live.record([])
    assert len(page_of(live, "live")) == 9
    (path.parent / "online.db").rename(path.parent / "away")
    monkeypatch.setattr(followed_items, "_now_ms", lambda: now_ms() + HOUR_MS)
    wait_until(lambda: page_of(live, "live") == [LIVE])
    (path.parent / "away").rename(path.parent / "online.db")


def test_uploaded_room_is_recommended_once_it_is_open(live, path):
    row = {"item_type": "live", "item_id": NEW}
    host = {"event": "follow", "user_id": USER, "creator_id": HOST}
    assert live.record([{"event": "upload", "creator_id": HOST, **row}, host]).events == 2
    assert NEW not in page_of(live, "live")
    assert live.record([{"event": "open", **row}]).events == 1
    with open_hot_swap(path, None) as later:
        for one in (live, later):
            page = one.run(karec.Request(USER, 50, scene="live"))
            sources = {name for item in page if item.item_id == NEW for name in item.sources}
            assert sources == {"follow", "open_now"} and not page.degraded
    index = live.cascades["live"].index
    with index.pinned() as view:
        new, known = view.embeddings(view.lookup([NEW, LIVE + 3]))
    np.testing.assert_allclose(new, known, atol=2e-3)  # the room of the same host
    live.record([{"event": "block", "creator_id": HOST}])
    assert NEW not in page_of(live, "live")


def test_edited_room_keeps_its_vector_and_stays_closed(live):
    index = live.cascades["live"].index
    with index.pinned() as view:
        vector = view.embeddings(view.lookup([LIVE]))
    live.record([{"event": "close", "item_type": "live", "item_id": LIVE}])
    live.record([{"event": "edit", "item_type": "live", "item_id": LIVE, "columns": {"tag": 2}}])
    with index.pinned() as view:
        rows = view.lookup([LIVE])
        assert view.gather("tag", rows).tolist() == [2]
        np.testing.assert_array_equal(view.embeddings(rows), vector)
    assert LIVE not in page_of(live, "live")


def test_event_of_an_uploaded_item_with_the_id_of_a_work_is_stored(live):
    row = {"item_type": "live", "item_id": int(live.cascades["home"].bundle.snapshot.works.ids[0])}
    assert live.record([{"event": "upload", "creator_id": HOST, **row}, {"event": "open", **row}]).events == 2
    assert live.record([{"event": "block", **row}]).events == 1
    assert row["item_id"] not in page_of(live, "live")


def test_room_is_open_after_a_block_ends(live):
    row = {"item_type": "live", "item_id": LIVE}
    live.record([{"event": "block", "time_ms": now_ms() - 500, **row}])
    live.record([{"event": "open", **row}])
    assert LIVE not in page_of(live, "live")
    live.record([{"event": "unblock", **row}])
    assert LIVE in page_of(live, "live")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"event": "block", "item_type": "sogn", "item_id": 1}, "unknown item_type 'sogn'"),
        ({"event": "block", "item_type": 7, "item_id": 1}, "unknown item_type '7'"),
        (
            {"event": "block", "item_type": "song", "item_id": LIVE},
            "item_id is an item of the type 'live', not of 'song'",
        ),
        ({"event": "block", "item_id": LIVE}, "item_id is an item of the type 'live', not of 'work'"),
        (
            {"event": "impression", "user_id": USER, "item_id": LIVE},
            "item_id is an item of the type 'live', not of 'work'",
        ),
        (
            {"event": "open", "item_type": "song", "item_id": 1},
            "items of the type 'song' do not open: see [online] open_minutes",
        ),
        (
            {"event": "open", "item_id": 100},
            "items of the type 'work' do not open: see [online] open_minutes",
        ),
        ({"event": "open", "item_type": "live"}, "item_id is missing"),
        (
            {"event": "open", "item_type": "live", "item_id": LIVE, "time_ms": now_ms() + 24 * HOUR_MS},
            "from the future",
        ),
        ({"event": "block", "item_type": "song", "item_id": "one"}, "item_id is not an integer"),
    ],
)
def test_wrong_event_of_an_item_type_is_refused_with_its_reason(live, row, reason):
    result = live.record([row])
    assert (result.events, dict(result.refused)) == (0, {reason: 1})


def test_open_minutes_of_an_unknown_item_type_is_refused(path, tmp_path):
    text = path.read_text().replace("sqlite:online.db", "sqlite::memory:")
    wrong = path.parent / "wrong.toml"
    wrong.write_text(text.replace("{ live = 60", "{ lives = 60"))
    message = r"online\.open_minutes\.lives: the bundle has no items of this type \(did you mean 'live'\?\)"
    with pytest.raises(ConfigError, match=message):
        open_hot_swap(wrong, None)
    (mistake,) = config_mistakes(wrong, None, Bundle.open(path.parent / "bundles"))
    assert re.search(message, mistake)


def test_ingested_lines_of_item_types_are_effective(live, path):
    song = page_of(live, "song_request")[0]
    lines = [
        json.dumps({"event": "block", "item_type": "song", "item_id": song}),
        json.dumps({"event": "close", "item_type": "room", "item_id": ROOM}),
    ]
    assert store_lines(path, lines)[0] == 2
    wait_until(lambda: song not in page_of(live, "song_request") and ROOM not in page_of(live, "room"))


def test_item_type_shares_follows_with_works_and_no_other_state():
    """The items of another type have the ids of works."""
    songs = StoreContents(platform(), HEAD, "song")
    contents = StoreContents(platform(), HEAD, others={"song": songs})
    plain, store = SqliteStore(None), SqliteStore(None)
    rows = {"source": 1, "user_id": int(USERS[0]), "item_id": int(WORKS[1]), "labels": 1}
    work = Events.from_columns("impression", number=np.arange(3), time_ms=START + 1, **rows)
    song = Events.from_columns(
        "impression", number=np.arange(3, 6), time_ms=START + 2, item_type="song", **rows
    )
    follow = Events.from_columns(
        "follow", source=1, number=9, time_ms=START, user_id=int(USERS[0]), creator_id=4
    )
    works = FollowedItems(contents, ItemChanges(platform(), lambda *_: -1, lambda *_: ""), lambda *_: None)
    follower = Follower(store, [works], None)
    follower.poll()
    plain.append(Events.concatenate([work, follow]), EventApplier(contents))
    store.append(Events.concatenate([work, song, follow]), EventApplier(contents))
    follower.poll()
    assert everything(store) == everything(plain)
    assert follower.items.counters.tolist() == [[3, 4, 0, 0, 0]]  # with a click of the base
    state = StateReader(store, songs).read_user(int(USERS[0]))
    lists = {name: relation.values.tolist() for name, relation in state.lists.items()}
    assert lists["shown"] == [10] * 3 and lists["history"] == [70, 10, 70] + [10] * 3
    assert lists["follows"] == [9, 4]


def test_uploaded_item_without_works_is_not_in_the_index(live):
    row = {"event": "upload", "item_type": "song", "item_id": NEW, "columns": {"song_id": NEW}}
    assert live.record([row]).events == 1
    with live.cascades["song_request"].index.pinned() as view:
        assert view.lookup([NEW]).tolist() == [-1]
    assert live.event_counts.get("items not indexed", 0) == 0
    assert NEW not in page_of(live, "song_request")


def counters_of(live, scene, item) -> dict[str, float]:
    online = live.cascades[scene].online
    view = online.view(-1, ITEM_TYPES.get(scene, ""))[0]
    counters = view.items.find_counters(np.array([item]))[1]
    return dict(zip(view.counter_names, counters[0].tolist(), strict=True)) if len(counters) else {}


@pytest.mark.parametrize("scene", ["home", *ITEM_TYPES])
def test_events_change_counters_of_their_item_type_only(live, path, scene):
    item_type = ITEM_TYPES.get(scene, "work")
    item = page_of(live, scene)[0]
    items = live.cascades[scene].bundle.snapshot.works
    row = int(items.lookup(np.array([item]))[0])
    exposed, liked = (
        float(items.columns.get(name, np.zeros(row + 1))[row]) for name in ("count_exposed", "count_like")
    )
    expected = {"count_exposed": exposed + 2, "count_like": liked + 3}
    seen = {"user_id": USER, "item_type": item_type, "item_id": item}
    with open_hot_swap(path, None) as other:
        assert not live.record([{"event": "impression", "labels": ["like"], **seen}] * 2).refused
        assert not live.record([{"event": "label", "labels": ["like"], **seen}]).refused
        assert counters_of(live, scene, item).items() >= expected.items()
        wait_until(lambda: counters_of(other, scene, item).items() >= expected.items())
    path.write_text(path.read_text() + "\n")
    assert live.reload()
    with open_hot_swap(path, None) as later:
        for one in (live, later):
            assert counters_of(one, scene, item).items() >= expected.items()
            others = {name for name in SCENES if ITEM_TYPES.get(name, "work") != item_type}
            assert not any(counters_of(one, name, item) for name in others)


def test_400_visits_of_a_room_move_it_forward(live, path):
    before = page_of(live, "room")
    room = before[-1]
    labels = ["join"]
    row = {"event": "impression", "item_type": "room", "item_id": room, "labels": labels}
    with open_hot_swap(path, None) as other:
        assert live.record([{**row, "user_id": 100_000 + n} for n in range(400)]).events == 400
        after = page_of(live, "room")
        assert after.index(room) < before.index(room)
        wait_until(lambda: page_of(other, "room") == after)


def test_shown_item_appears_again_after_the_hours_of_its_scene(live):
    first, second = page_of(live, "song_request")[:2]
    row = {"event": "impression", "user_id": USER, "item_type": "song"}
    live.record([{**row, "item_id": first, "time_ms": now_ms() - 25 * HOUR_MS}, {**row, "item_id": second}])
    page = page_of(live, "song_request")
    assert first in page and second not in page
