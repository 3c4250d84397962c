"""The demo's scenes beside home: each asked for feeds, and what they are worth by the world's truth."""

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
from karec.lab.simulate.world.item_types import WorldKind, make_kinds
from karec.lab.simulate.world.tastes import SCENES
from karec.lab.studies.scenes import ValueOf, fill, scene_row
from karec.pipeline.types import Request
from karec.steps.scorers.live_indicators import LiveIndicators
from karec.times import HOUR_MS, Progress

ALL = "all"
MINUTE_MS = HOUR_MS // 60
EVENING_MS = 20 * HOUR_MS  # rooms are asked for in the evening after the snapshot,
MINUTES = (0, 20, 40, 60)  # at these minutes: who is on changes between them, and nothing is published
OF_WORKS = {  # {scene: (what it is for, the outcome, the label whose rate is popularity)}
    "home": ("seconds played of a work", "play_time", "long_view"),
    "following": ("seconds played of a work", "play_time", "long_view"),
    "city": ("chance of a like", "like", "like"),
    "comment": ("chance of a comment", "comment", "comment"),
}
OF_KINDS = {
    "live": "seconds watched of a room",
    "song_request": "chance that a song is sung",
    "room": "chance to join a room",
    "creators": "chance of a follow",
    "comment_users": "chance of a comment on a work of theirs",
}
TOGETHER = {"comment": ("comment", "comment_users")}  # works and people: two lists of one place
WATCHED = {"watch_1m": 60.0, "watch_5m": 240.0, "watch_30m": 1500.0}


def asked_scenes(name: str | None, data: str) -> list[str]:
    """The templates that ``--scene`` names. ValueError: there is none such, or nobody knows the truth of
    ``data``."""
    known = [HOME, *OTHERS]
    if name is None:
        return []
    if name not in (*known, ALL):
        raise ValueError(
            f"--scene {name}: no such template{nearest(name, known)}; there are {known}, and {ALL}"
        )
    if data != "world":
        raise ValueError(
            f"--scene measures scenes by the truth of the synthetic world, which --data {data} has not: "
            "leave it out, and put templates into your karec.toml as docs/howto-scenes.md says"
        )
    return known if name == ALL else list(TOGETHER.get(name, (name,)))


def item_types_of(world: World) -> ItemTypesOf:
    """What the scenes of ``world`` recommend beside works, as of the snapshot that is published."""
    return lambda snapshot: {name: kind.made for name, kind in make_kinds(world, snapshot).items()}


def scenes_of(
    world: World, config: Path, names: Sequence[str], n_requests: int, progress: Progress | None = None
) -> dict[str, Any]:
    """The report's ``scenes``: {name: its row}. Each scene is asked by the same users, those of the demo."""
    kinds = make_kinds(world, open_bundle(config).snapshot)
    rows = {}
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), f"the scene {name}")
        rows[name] = _row(world, kinds, config, name, n_requests)
    return rows


def _row(
    world: World, kinds: Mapping[str, WorldKind], config: Path, name: str, n_requests: int
) -> dict[str, Any]:
    cascade = replace(load_cascade(config, name, open_bundle(config)), side_effects=(), naming=None)
    read = cascade.bundle
    assert read is not None  # a cascade of a config has one
    moment = world.dataset.valid_until_ms
    users = asked_users(world.dataset, n_requests).tolist()
    requests = [Request(user, scene=name, time_ms=moment, request_id=f"{name}-{user}") for user in users]
    ids = np.asarray(read.snapshot.works.ids)
    if not isinstance(read, ItemTypeBundle):
        what, outcome, label = OF_WORKS[name]
        popular = LiveIndicators(read.snapshot, {label: 1.0}).score
        return scene_row(fill(cascade, popular, requests, _of_works(world, outcome), ids), what)
    kind = kinds[read.name]
    popular = LiveIndicators(read.snapshot, WATCHED if name == "live" else None).score
    asked = requests if kind.hours is None else _in_the_evening(read, kind, requests)
    value = _of_comments(world, kind) if name == "comment_users" else _of_kind(world, kind)
    return scene_row(fill(cascade, popular, asked, value, ids), OF_KINDS[name])


def _in_the_evening(read: ItemTypeBundle, kind: WorldKind, requests: Sequence[Request]) -> Iterator[Request]:
    """``requests`` at MINUTES of the evening after, an equal part each; before each part it is told who is
    on."""
    for minute, part in zip(MINUTES, np.array_split(np.arange(len(requests)), len(MINUTES)), strict=True):
        moment = read.snapshot.time_ms + EVENING_MS + minute * MINUTE_MS
        read.set_open(kind.on_at(moment))
        yield from (replace(requests[at], time_ms=moment) for at in part)


def _of_works(world: World, outcome: str) -> ValueOf:
    snapshot = world.dataset.snapshot

    def value_of(request: Request, ids: NDArray[Any]) -> NDArray[Any]:
        user = np.repeat(snapshot.users.lookup(np.array([request.user_number])), len(ids))
        scene = SCENES.index(request.scene) if request.scene in SCENES else 0
        times, scenes = np.full(len(ids), request.time_ms), np.full(len(ids), scene)
        return world.outcomes([outcome], user, snapshot.works.lookup(ids), times, scenes)[:, 0]

    return value_of


def _of_comments(world: World, kind: WorldKind) -> ValueOf:
    """The mean chance of a comment over the works that a person's vector is made of."""
    works_of, comment = kind.made.works_of, _of_works(world, "comment")

    def value_of(request: Request, ids: NDArray[Any]) -> NDArray[Any]:
        rows = kind.made.item_type.items.lookup(ids)
        works = [works_of.row_values(row) for row in rows.tolist()]
        chances = comment(request, np.concatenate([np.empty(0, np.int64), *works]))
        owner = np.repeat(np.arange(len(ids)), [len(each) for each in works])
        sums, counts = np.bincount(owner, chances, len(ids)), np.bincount(owner, minlength=len(ids))
        return np.asarray(sums / np.maximum(counts, 1))

    return value_of


def _of_kind(world: World, kind: WorldKind) -> ValueOf:
    users = world.dataset.snapshot.users

    def value_of(request: Request, ids: NDArray[Any]) -> NDArray[Any]:
        return kind.value(np.repeat(users.lookup(np.array([request.user_number])), len(ids)), ids)

    return value_of
