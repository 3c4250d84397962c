"""Erased ids are in no event and no entry of a store; other users and items keep theirs."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from event_platform import HEAD, LABELS, START, platform
from object_stores import url_of
from valkey_server import PROGRAMS, REASON, ValkeyServer

from karec.aggregates.events import DELETE, Events
from karec.catalog.table import Table
from karec.erasure import ErasedIds
from karec.logs.erase import erase_from_log
from karec.logs.parts import to_log_folder
from karec.online.apply_events import EventApplier
from karec.online.erase import erase_from_store
from karec.online.event_files import EventFiles
from karec.online.item_counters import ItemCounters
from karec.online.lifecycle import ItemLife, ItemLifecycle
from karec.online.read_state import StateReader
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import START as BEGIN
from karec.online.store.online_store import OnlineStore
from karec.online.store.sqlite import SqliteStore
from karec.online.store.valkey import ValkeyStore
from karec.times import DAY_MS

CONTENTS = StoreContents(platform(), HEAD)
USER, ITEM, CREATOR = (0x2A3B4C5D6E7F8091 + step for step in (0, 1 << 20, 1 << 40))  # their bytes are rare
OTHER, WORK = 9, 40
NOW_MS = START + 1000
LIKE = 1 << LABELS.index("like") | 1 << LABELS.index("click")


def make_events(*rows: dict[str, object], first: int = 0, time_ms: int = START) -> Events:
    """``rows`` have the columns that differ from an impression."""
    parts = [
        Events.from_columns(
            **{
                "kind": "impression",
                "source": 1,
                "number": first + n,
                "time_ms": time_ms + n,
                "logged_ms": time_ms + n,
                "labels": np.uint64(LIKE if row.get("kind", "impression") == "impression" else 0),
                "scene": 0,
                **row,
            }
        )
        for n, row in enumerate(rows)
    ]
    return Events.concatenate(parts)


def write_events(store: OnlineStore) -> None:
    """Events of the three ids, of others, and of both."""
    store.append(
        make_events(
            {"user_id": USER, "item_id": WORK},
            {"user_id": OTHER, "item_id": ITEM},
            {"user_id": OTHER, "item_id": WORK},
            {"user_id": USER, "item_id": ITEM},
            {"kind": "follow", "user_id": OTHER, "creator_id": CREATOR},
            {"kind": "follow", "user_id": OTHER, "creator_id": 40},
            {"kind": "upload", "item_id": 501, "creator_id": CREATOR, "text": '{"tag": "a"}'},
            {"kind": "upload", "item_id": ITEM, "creator_id": 3},
        ),
        EventApplier(CONTENTS),
    )


@pytest.fixture(params=["sqlite", "valkey"])
def store(request, tmp_path) -> Iterator[OnlineStore]:
    if request.param == "sqlite":
        store: OnlineStore = SqliteStore(tmp_path / "online.db")
        write_events(store)
        yield store
        store.close()
        return
    pytest.importorskip("valkey")
    if not PROGRAMS:
        pytest.skip(REASON)
    server = ValkeyServer(tmp_path)
    store = ValkeyStore(server.url, 30)  # seconds
    write_events(store)
    yield store
    server.kill()


def erased(kind: str, number: int, before_ms: int = NOW_MS) -> ErasedIds:
    return ErasedIds(kind, np.array([number]), before_ms)


def erase(store: OnlineStore, ids: ErasedIds, contents: StoreContents = CONTENTS) -> int:
    return erase_from_store(store, contents, ids)


def lists_of(store: OnlineStore, user: int) -> dict[str, list[int]]:
    state = StateReader(store, CONTENTS).read_user(user)
    return {name: values.values.tolist() for name, values in state.lists.items() if len(values.values)}


def contents_of(store: OnlineStore) -> bytes:
    """Returns all keys and values of state, and the ids of all events, big-endian."""
    entries = list[bytes]()

    def keep(key: bytes, value: bytes | None) -> bytes | None:
        entries.extend([key, value or b""])
        return value

    store.rewrite_state(keep)
    events = store.poll(BEGIN, 1000).events
    ids = np.concatenate([events.user_id, events.item_id, events.creator_id]).astype(">i8").tobytes()
    return b" ".join([*entries, ids, *(text.encode() for text in events.text)])


def has_id(data: bytes, number: int) -> bool:
    (key,) = records.keys_of(b"", np.array([number]))
    forms = (number.to_bytes(8, "little"), number.to_bytes(8, "big"), str(number).encode(), key)
    return any(form in data for form in forms)


@pytest.mark.parametrize(("kind", "number"), [("user", USER), ("item", ITEM), ("creator", CREATOR)])
def test_erased_id_is_in_no_event_and_no_entry(store, kind, number):
    assert has_id(contents_of(store), number)
    others = {USER, ITEM, CREATOR} - {number}
    assert erase(store, erased(kind, number)) >= 4
    erase(store, erased(kind, number, NOW_MS + 1))  # An upload leaves a deletion for running services.
    assert not has_id(contents_of(store), number)
    assert all(has_id(contents_of(store), other) for other in others)
    assert erase(store, erased(kind, number, NOW_MS + 2)) == 0


def test_sqlite_file_has_no_byte_of_an_erased_id_after_it_was_compacted(tmp_path):
    store = SqliteStore(tmp_path / "online.db")
    write_events(store)
    erase(store, erased("user", USER))
    store.compact()
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert not any(has_id(data, USER) for data in files) and any(has_id(data, ITEM) for data in files)
    store.close()


def test_erasure_of_a_user_keeps_the_state_of_others(store):
    before = lists_of(store, OTHER), ItemCounters(store, CONTENTS).read(np.array([WORK])).tolist()
    erase(store, erased("user", USER))
    assert before == (lists_of(store, OTHER), ItemCounters(store, CONTENTS).read(np.array([WORK])).tolist())
    assert lists_of(store, USER) == {}


def test_erased_user_of_the_base_has_no_state_of_the_base_and_starts_new(store):
    assert lists_of(store, 5)["history"] == [70, 10, 70]
    erase(store, erased("user", 5))
    state = StateReader(store, CONTENTS).read_user(5)
    assert lists_of(store, 5) == {} and not state.counters.any() and not state.scene_counters.any()
    store.append(
        make_events({"user_id": 5, "item_id": 20}, first=100, time_ms=NOW_MS + 1), EventApplier(CONTENTS)
    )
    assert lists_of(store, 5)["history"] == [20]
    assert StateReader(store, CONTENTS).read_user(5).counters[0] == 1  # impressions


def test_marks_of_the_base_disappear_with_a_base_without_the_ids(store):
    base = platform()
    works = Table(base.works.ids[2:], {name: column[2:] for name, column in base.works.columns.items()})
    users = Table(base.users.ids[1:], {})
    base = replace(base, works=works, users=users, relations={}, user_scene_counters={})
    smaller = replace(CONTENTS, base=base)
    kinds = [("user", 5), ("item", 70)]
    for kind, number in kinds:
        erase(store, erased(kind, number))
        assert erase(store, erased(kind, number, NOW_MS + 1)) > 0  # the mark
    lifecycle = ItemLifecycle.from_entries(dict(store.snapshot([b"u"])[1]), {})
    assert lifecycle.items[70].is_gone
    for kind, number in kinds:
        erase(store, erased(kind, number, NOW_MS + 2), smaller)
        assert erase(store, erased(kind, number, NOW_MS + 3), smaller) == 0


def test_items_of_an_erased_creator_are_deleted_and_new_uploads_exist(store):
    block = make_events({"kind": "block", "creator_id": 9}, first=60)
    store.append(block, EventApplier(CONTENTS))
    erase(store, erased("creator", 9))
    new = {"kind": "upload", "item_id": 502, "creator_id": 9}
    store.append(make_events(new, first=70, time_ms=NOW_MS + 1), EventApplier(CONTENTS))
    lifecycle = ItemLifecycle.from_entries(dict(store.snapshot([b"u", b"k"])[1]), {})
    assert lifecycle.items[10].is_gone  # the base's only item of creator 9
    assert not lifecycle.items[502].is_gone and not lifecycle.creator_blocks


def test_upload_of_an_erased_creator_becomes_a_deletion(store):
    erase(store, erased("creator", CREATOR))
    lifecycle = ItemLifecycle.from_entries(dict(store.snapshot([b"u"])[1]), {})
    assert lifecycle.items[501].is_gone and not lifecycle.items[501].columns
    assert store.poll(BEGIN, 100).events.kind.tolist().count(DELETE) == 1  # services follow it
    assert lists_of(store, OTHER)["follows"] == [3, 5, 40]


def test_uploaded_room_of_an_erased_creator_becomes_a_deletion(store):
    rooms = StoreContents(replace(platform(), works=platform().works.take(np.arange(0))), HEAD, "live")
    contents = StoreContents(platform(), HEAD, others={"live": rooms})
    upload = {"kind": "upload", "item_id": 900, "item_type": "live", "creator_id": CREATOR}
    store.append(make_events(upload, first=50), EventApplier(contents))
    erase(store, erased("creator", CREATOR), contents)
    lifecycle = ItemLifecycle.from_entries(dict(store.snapshot([b"tlive:u"])[1]), {})
    assert lifecycle.items[900].is_gone and not lifecycle.items[900].columns
    erase(store, erased("creator", CREATOR, NOW_MS + 1), contents)
    assert not has_id(contents_of(store), CREATOR)


def test_erased_user_and_creator_leave_the_lists_of_their_item_types(store):
    base = platform()
    people = Table(np.array([OTHER, 5]), {})
    others = {name: StoreContents(replace(base, works=people), HEAD, name) for name in ("user", "creator")}
    contents = StoreContents(base, HEAD, others=others)
    items = [(USER, "user"), (5, "user"), (CREATOR, "creator")]
    rows = [{"user_id": OTHER, "item_id": item_id, "item_type": name} for item_id, name in items]
    store.append(make_events(*rows, first=50), EventApplier(contents))
    for kind, number in (("user", USER), ("creator", CREATOR), ("user", 5)):
        erase(store, erased(kind, number), contents)
    assert not has_id(contents_of(store), USER) and not has_id(contents_of(store), CREATOR)
    reader = StateReader(store, others["user"])
    assert reader.read_user(OTHER).lists["liked"].values.tolist() == [40]  # of the base
    (life,) = [value for key, value in store.snapshot([b"tuser:u"])[1]]
    assert ItemLife.from_bytes(records.payload(life)).presence[1] == DELETE  # of 5, which the base has


def test_killed_erasure_is_completed_by_the_next(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "append", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            erase(store, erased("item", ITEM))
    erase(store, erased("item", ITEM, NOW_MS + 1))
    erase(store, erased("item", ITEM, NOW_MS + 2))
    assert not has_id(contents_of(store), ITEM)


def test_erasure_of_an_unknown_id_changes_nothing(store):
    before = contents_of(store)
    for kind in ("user", "item", "creator"):
        assert erase(store, erased(kind, 123_456)) == 0
    assert contents_of(store) == before


@pytest.mark.parametrize("place", ["local", "url"])
def test_erased_events_leave_exported_days_and_others_stay(tmp_path, request, place):
    location = str(tmp_path / "events")
    if place == "url":
        location = url_of(request.getfixturevalue("s3_port"), "bucket/erased-events")
    files = EventFiles(location)
    day = START // DAY_MS
    kept = make_events({"user_id": OTHER, "item_id": WORK})
    files.write(day, iter([make_events({"user_id": USER, "item_id": WORK}), kept]), HEAD)
    files.write(day + 1, iter([make_events({"user_id": USER, "item_id": 1}, time_ms=NOW_MS)]), HEAD)
    ids = erased("user", USER)
    assert erase_from_log(to_log_folder(location), [ids]) == 1
    assert [events.user_id.tolist() for events in files.read(day, HEAD)] == [[], [OTHER]]
    assert [events.user_id.tolist() for events in files.read(day + 1, HEAD)] == [[USER]]
    assert erase_from_log(to_log_folder(location), [ids]) == 0
    assert files.delete_before(day + 1) == 1 and files.days() == [day + 1]
