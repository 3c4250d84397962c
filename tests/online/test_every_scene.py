"""Each kind of event is effective in each scene, in the process that records it and in another one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from nine_scenes import ITEM_TYPES, ROOM_TYPES, SCENES, nine_scenes_config
from valkey_server import PROGRAMS, REASON, ValkeyServer

import karec
from karec.bundle import Bundle
from karec.bundle.hot_swap import HotSwap
from karec.config import open_hot_swap

USER, K, NEW = 3, 4, 9001
LONG_S = 60
LABELS = {"live": "watch_1m", "room": "join"}  # {item type: label that means enjoyed}
CLOCK = count(time.time_ns() // 1_000_000 - 60_000)  # of events, ms


@dataclass(frozen=True)
class Case:
    """A scene, the first item of its page with its creator (0 for songs), and the page before the event."""

    scene: str
    item: int
    creator: int
    before: list[int]
    is_followed: bool = False

    @property
    def item_type(self) -> str:
        return ITEM_TYPES.get(self.scene, "work")

    @property
    def label(self) -> str:
        return LABELS.get(self.item_type, "click")

    def event(self, kind: str, **values: Any) -> dict[str, Any]:
        return {"event": kind, "item_id": self.item, "item_type": self.item_type, **values}

    def user_event(self, kind: str, **values: Any) -> dict[str, Any]:
        return self.event(kind, user_id=USER, **values)


def follow(case: Case, kind: str = "follow") -> dict[str, Any]:
    return {"event": kind, "user_id": USER, "creator_id": case.creator}


def mute(case: Case, kind: str = "mute") -> dict[str, Any]:
    return {"event": kind, "user_id": USER, "creator_id": case.creator}


def block_creator(case: Case, kind: str = "block") -> dict[str, Any]:
    return {"event": kind, "creator_id": case.creator}


Rows = list[dict[str, Any]]
EVENTS: Mapping[str, tuple[Callable[[Case], Rows], Callable[[Case], Rows]]] = {
    "impression": (lambda case: [case.user_event("impression")], lambda case: []),
    "label": (lambda case: [case.user_event("label", labels=[case.label])], lambda case: []),
    "play": (lambda case: [case.user_event("play", play_ms=5000)], lambda case: []),
    "search": (lambda case: [{"event": "search", "user_id": USER, "text": "a"}], lambda case: []),
    "follow": (
        lambda case: [follow(case)],
        lambda case: [] if case.is_followed else [follow(case, "unfollow")],
    ),
    "unfollow": (
        lambda case: [follow(case), follow(case, "unfollow")],
        lambda case: [follow(case)] if case.is_followed else [],
    ),
    "mute": (lambda case: [mute(case)], lambda case: [mute(case, "unmute")]),
    "unmute": (lambda case: [mute(case), mute(case, "unmute")], lambda case: []),
    "upload": (
        lambda case: [
            case.event("upload", item_id=NEW, creator_id=case.creator or None, columns={"song_id": 1})
        ],
        lambda case: [],
    ),
    "edit": (lambda case: [case.event("edit", columns={"tag": 2})], lambda case: []),
    "delete": (lambda case: [case.event("delete")], lambda case: []),
    "block": (lambda case: [case.event("block")], lambda case: [case.event("unblock")]),
    "block of a creator": (
        lambda case: [block_creator(case)],
        lambda case: [block_creator(case, "unblock")],
    ),
    "unblock": (lambda case: [case.event("block"), case.event("unblock")], lambda case: []),
    "adjust": (
        lambda case: [case.event("adjust", offset=7.0)],
        lambda case: [case.event("adjust", offset=0.0)],
    ),
    "close": (lambda case: [case.event("close")], lambda case: [case.event("open")]),
    "open": (lambda case: [case.event("close"), case.event("open")], lambda case: []),
    "open of a blocked item": (
        lambda case: [case.event("block"), case.event("open")],
        lambda case: [case.event("unblock")],
    ),
}
"""{name: (events, events that undo them)}"""
ONLY_ROOMS = ("close", "open", "open of a blocked item")


def is_effective(name: str, case: Case, live: HotSwap) -> bool:
    """Returns True if the next page of ``live``, and what its steps read, are right after the events."""
    page, lists, cascade = page_of(live, case.scene), lists_of(live, case), live.cascades[case.scene]
    is_room, creators = case.item_type in ROOM_TYPES, creators_of(live, case.scene, page)
    match name:
        case "impression":
            return case.item in lists["shown"] and (case.item in page) == is_room
        case "label":
            return lists["history"][-1] == case.item
        case "mute" if case.creator:
            return case.creator in lists["muted"] and bool(page) and case.creator not in creators
        case "play" | "search" | "unblock" | "open" | "mute" | "unmute":
            return page == case.before
        case "follow":
            return case.creator in lists["follows"] and (
                case.scene != "creators" or case.creator not in creators
            )
        case "unfollow":
            return case.creator not in lists["follows"] and (
                case.scene != "following" or case.creator not in creators
            )
        case "upload":
            uploads = cascade.online.view(USER, cascade.item_type)[0].items.uploads.works.ids
            with cascade.index.pinned() as view:
                is_indexed = view.lookup([NEW])[0] >= 0
            has_works = case.item_type != "creator"  # of a new creator, the bundle has no works
            return NEW in uploads and is_indexed == has_works
        case "edit":
            with cascade.index.pinned() as view:
                return int(view.gather("tag", view.lookup([case.item]))[0]) == 2
        case "adjust":
            return cascade.index.scores(np.zeros(cascade.index.dim), ids=[case.item]).tolist() == [7.0]
        case "block of a creator" if case.creator:
            return bool(page) and case.creator not in creators
        case "block of a creator":
            return page == case.before
        case _:
            stages = [stage.name for stage in cascade.stages]
            ranked = [cascade.rank(USER, [case.item], first_stage=stage) for stage in stages]
            is_ranked = any(len(one) or case.item not in one.dropped for one in ranked)
            return bool(page) and case.item not in page and not is_ranked


def page_of(live: HotSwap, scene: str) -> list[int]:
    page = live.run(karec.Request(USER, K, scene=scene, request_id="a"))
    assert not page.degraded
    return page.candidates.ids.tolist()


def lists_of(live: HotSwap, case: Case) -> dict[str, list[int]]:
    view, failure = live.cascades[case.scene].online.view(USER, live.cascades[case.scene].item_type)
    assert failure is None and view.user is not None
    return {name: relation.values.tolist() for name, relation in view.user.lists.items()}


def creators_of(live: HotSwap, scene: str, items: list[int]) -> list[int]:
    """Returns the creator of each item, −1 for songs."""
    if ITEM_TYPES.get(scene) == "song":
        return [-1] * len(items)
    with live.cascades[scene].index.pinned() as view:
        return view.gather("creator_id", view.lookup(np.array(items, np.int64))).tolist()


def case_of(live: HotSwap, scene: str) -> Case:
    page = page_of(live, scene)
    case = Case(scene, page[0], max(creators_of(live, scene, page)[0], 0), page)
    return replace(case, is_followed=case.creator in lists_of(live, case)["follows"])


def record(live: HotSwap, rows: Rows) -> karec.bundle.hot_swap.Acknowledgement:
    return live.record([{"time_ms": next(CLOCK), **row} for row in rows])


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    nine_scenes_config(folder)
    return folder


@pytest.fixture(scope="module")
def valkey_url(tmp_path_factory):
    pytest.importorskip("valkey")
    if not PROGRAMS:
        pytest.skip(REASON)
    server = ValkeyServer(tmp_path_factory.mktemp("server"))
    yield server.url
    server.kill()


@pytest.fixture(scope="module", params=["sqlite", "valkey"])
def processes(request, made, tmp_path_factory):
    """Two cascades on copies of the bundle of their own, as processes of one host or of two, on one store."""
    opened = []
    folder = tmp_path_factory.mktemp("processes")
    url = f"sqlite:{folder / 'online.db'}"
    if request.param == "valkey":
        url = request.getfixturevalue("valkey_url")
    for name in ("one", "two"):
        shutil.copytree(made / "bundles", folder / name / "bundles", symlinks=True)
        text = (made / "karec.toml").read_text()
        text = text.replace('"sqlite:online.db"', f'"{url}"\ndeadline_ms = 9_000')
        (folder / name / "karec.toml").write_text(text)
        opened.append(open_hot_swap(folder / name / "karec.toml", None))
    bundle = Bundle.open(made / "bundles", verify=False)
    rooms = [(name, bundle.item_type(name).snapshot.works.ids.tolist()) for name in ROOM_TYPES]
    rows = [{"event": "open", "item_type": name, "item_id": item} for name, ids in rooms for item in ids]
    rows += [{"event": "follow", "user_id": USER, "creator_id": 5000 + n} for n in range(4)]
    assert record(opened[0], rows).events == len(rows)
    yield opened
    for live in opened:
        live.close()


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", EVENTS)
def test_event_is_effective_in_a_scene_of_two_processes(processes, name, scene):
    one, two = processes
    case = case_of(one, scene)
    events, undo = EVENTS[name]
    result = record(one, events(case))
    if name in ONLY_ROOMS and case.item_type not in ROOM_TYPES:
        assert result.refused and page_of(one, scene) is not None
        return
    assert not result.refused
    assert is_effective(name, case, one)
    wait_until(lambda: is_effective(name, case, two))
    assert not record(one, undo(case)).refused
