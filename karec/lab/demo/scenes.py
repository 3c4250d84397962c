"""The demo's other scenes: pages for each, and their value by the truth of the world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.item_types import ItemTypeBundle
from karec.config import load_cascade, open_bundle
from karec.config.project import ItemTypesOf
from karec.config.templates import HOME, OTHERS
from karec.errors import nearest
from karec.lab.demo.serve import asked_users
from karec.lab.simulate.world import World
from karec.lab.simulate.world.item_types import WorldItemType, make_item_types
from karec.lab.simulate.world.tastes import SCENES
from karec.lab.studies.scenes import ValueOf, fill, scene_row
from karec.pipeline.types import Request
from karec.steps.scorers.live_indicators import LiveIndicators
from karec.times import HOUR_MS, Progress

ALL = "all"
MINUTE_MS = HOUR_MS // 60
EVENING_MS = 20 * HOUR_MS  # requests for rooms are in the evening after the snapshot
MINUTES = (0, 20, 40, 60)  # of these requests; the open rooms change without publishing
WORK_SCENES = {  # {scene: (objective, outcome, label whose rate is the popularity)}
    "home": ("seconds played of a work", "play_time", "long_view"),
    "following": ("seconds played of a work", "play_time", "long_view"),
    "city": ("probability of a like", "like", "like"),
    "comment": ("probability of a comment", "comment", "comment"),
}
ITEM_TYPE_SCENES = {
    "live": "seconds watched of a room",
    "song_request": "probability that a song is sung",
    "room": "probability to join a room",
    "creators": "probability of a follow",
    "comment_users": "probability of a comment on a work of theirs",
}
PAIRS = {"comment": ("comment", "comment_users")}  # works and people: two lists on one screen
WATCHED = {"watch_1m": 60.0, "watch_5m": 240.0, "watch_30m": 1500.0}


def asked_scenes(name: str | None, data: str) -> list[str]:
    """Returns the templates of ``--scene``. ValueError: unknown template, or no truth is known for
    ``data``.
    """
    known = [HOME, *OTHERS]
    if name is None:
        return []
    if name not in (*known, ALL):
        raise ValueError(
            f"--scene {name}: unknown template{nearest(name, known)}, expected one of {known} or {ALL}"
        )
    if data != "world":
        raise ValueError(
            f"--scene needs the truth of the synthetic world, which --data {data} does not have. Leave it "
            "out, and add templates to your karec.toml as in docs/pipeline.md."
        )
    return known if name == ALL else list(PAIRS.get(name, (name,)))


def item_types_of(world: World) -> ItemTypesOf:
    """Returns a function that makes the item types of ``world`` for the published snapshot."""
    return lambda snapshot: {name: kind.made for name, kind in make_item_types(world, snapshot).items()}


def scenes_of(
    world: World, config: Path, names: Sequence[str], n_requests: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Returns the report's ``scenes``: {name: row}. Each scene serves the demo's users."""
    item_types = make_item_types(world, open_bundle(config).snapshot)
    rows = {}
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), f"the scene {name}")
        rows[name] = _row(world, item_types, config, name, n_requests)
    return rows


def _row(
    world: World, item_types: Mapping[str, WorldItemType], config: Path, name: str, n_requests: int
) -> dict[str, Any]:
    cascade = replace(load_cascade(config, name, open_bundle(config)), side_effects=(), naming=None)
    read = cascade.bundle
    assert read is not None  # a cascade of a config has one
    moment = world.dataset.valid_until_ms
    users = asked_users(world.dataset, n_requests).tolist()
    requests = [Request(user, scene=name, time_ms=moment, request_id=f"{name}-{user}") for user in users]
    ids = np.asarray(read.snapshot.works.ids)
    if not isinstance(read, ItemTypeBundle):
        objective, outcome, label = WORK_SCENES[name]
        popular = LiveIndicators(read.snapshot, {label: 1.0}).score
        return scene_row(fill(cascade, popular, requests, _value_of_works(world, outcome), ids), objective)
    kind = item_types[read.name]
    popular = LiveIndicators(read.snapshot, WATCHED if name == "live" else None).score
    asked_requests = requests if kind.hours is None else _evening_requests(read, kind, requests)
    value = _value_of_comments(world, kind) if name == "comment_users" else _value_of_item_type(world, kind)
    return scene_row(fill(cascade, popular, asked_requests, value, ids), ITEM_TYPE_SCENES[name])


def _evening_requests(
    read: ItemTypeBundle, kind: WorldItemType, requests: Sequence[Request]
) -> Iterator[Request]:
    """Yields ``requests`` in equal parts at MINUTES of the next evening; before each part the open rooms
    are set.
    """
    for minute, part in zip(MINUTES, np.array_split(np.arange(len(requests)), len(MINUTES)), strict=True):
        moment = read.snapshot.time_ms + EVENING_MS + minute * MINUTE_MS
        read.set_open(kind.open_ids(moment))
        yield from (replace(requests[at], time_ms=moment) for at in part)


def _value_of_works(world: World, outcome: str) -> ValueOf:
    snapshot = world.dataset.snapshot

    def value_of(request: Request, ids: NDArray[Any]) -> NDArray[Any]:
        user = np.repeat(snapshot.users.lookup(np.array([request.user_number])), len(ids))
        scene = SCENES.index(request.scene) if request.scene in SCENES else 0
        times, scenes = np.full(len(ids), request.time_ms), np.full(len(ids), scene)
        return world.outcomes([outcome], user, snapshot.works.lookup(ids), times, scenes)[:, 0]

    return value_of


def _value_of_comments(world: World, kind: WorldItemType) -> ValueOf:
    """Returns the mean probability of a comment over the works of a person's vector."""
    works_of, comment = kind.made.works_of, _value_of_works(world, "comment")

    def value_of(request: Request, ids: NDArray[Any]) -> NDArray[Any]:
        rows = kind.made.item_type.items.lookup(ids)
        works = [works_of.row_values(row) for row in rows.tolist()]
        probabilities = comment(request, np.concatenate([np.empty(0, np.int64), *works]))
        owner = np.repeat(np.arange(len(ids)), [len(row_works) for row_works in works])
        sums, counts = np.bincount(owner, probabilities, len(ids)), np.bincount(owner, minlength=len(ids))
        return np.asarray(sums / np.maximum(counts, 1))

    return value_of


def _value_of_item_type(world: World, kind: WorldItemType) -> ValueOf:
    users = world.dataset.snapshot.users

    def value_of(request: Request, ids: NDArray[Any]) -> NDArray[Any]:
        return kind.value(np.repeat(users.lookup(np.array([request.user_number])), len(ids)), ids)

    return value_of
