"""The demo's other scenes: pages of each scene, and their value by the truth of the world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.item_types import ItemTypeBundle
from karec.config import load_cascade, open_bundle
from karec.config.templates import HOME, OTHERS
from karec.errors import nearest
from karec.lab.demo.serve import users_of_test_days
from karec.lab.simulate.world import World
from karec.lab.simulate.world.item_types import WorldItemType, make_item_types
from karec.lab.simulate.world.tastes import SCENES
from karec.lab.studies.scenes import Filled, ValueOf, fill, scene_row
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
ITEM_TYPE_SCENES = {  # {scene: objective}
    "live": "seconds watched of a room",
    "song_request": "probability that a song is sung",
    "room": "probability to join a room",
    "creators": "probability of a follow",
    "comment_users": "probability of a comment on a work of theirs",
}
PAIRS = {"comment": ("comment", "comment_users")}  # works and people: two lists on one screen
WATCH_WEIGHTS = {"watch_1m": 60.0, "watch_5m": 240.0, "watch_30m": 1500.0}  # {label: seconds}


def scene_templates(name: str | None, data: str) -> list[str]:
    """Returns the templates of ``--scene``, an empty list for None.

    Raises ValueError for an unknown template, and for ``data`` other than the world, which has no truth.
    """
    templates = [HOME, *OTHERS]
    if name is None:
        return []
    if name not in (*templates, ALL):
        raise ValueError(
            f"--scene {name}: unknown template{nearest(name, templates)}, expected one of {templates} or "
            f"{ALL}"
        )
    if data != "world":
        raise ValueError(
            f"--scene needs the truth of the synthetic world, which {data} does not have. Leave it out, and "
            "add templates to your karec.toml as in docs/pipeline.md."
        )
    return templates if name == ALL else list(PAIRS.get(name, (name,)))


def measure_scenes(
    world: World, config: Path, names: Sequence[str], n_requests: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Returns the report's ``scenes``: {name: row}. Each scene serves the demo's users."""
    item_types = make_item_types(world, open_bundle(config).snapshot)
    rows = {}
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), f"serving the scene {name}")
        rows[name] = scene_row(*fill_scene(world, item_types, config, name, n_requests))
    return rows


def fill_scene(
    world: World, item_types: Mapping[str, WorldItemType], config: Path, name: str, n_requests: int
) -> tuple[Filled, str]:
    """Returns the values of the scene's pages for at most ``n_requests`` users, and its objective."""
    cascade = replace(load_cascade(config, name, open_bundle(config)), side_effects=(), naming=None)
    bundle = cascade.bundle
    assert bundle is not None  # a cascade of a config has one
    time_ms = world.dataset.valid_until_ms
    users = users_of_test_days(world.dataset, n_requests).tolist()
    requests = [Request(user, scene=name, time_ms=time_ms, request_id=f"{name}-{user}") for user in users]
    ids = np.asarray(bundle.snapshot.works.ids)
    if not isinstance(bundle, ItemTypeBundle):
        objective, outcome, label = WORK_SCENES[name]
        popular = LiveIndicators(bundle.snapshot, {label: 1.0}).score
        return fill(cascade, popular, requests, _value_of_works(world, outcome), ids), objective
    item_type = item_types[bundle.name]
    popular = LiveIndicators(bundle.snapshot, WATCH_WEIGHTS if name == "live" else None).score
    timed_requests = requests if item_type.hours is None else _evening_requests(bundle, item_type, requests)
    value_of = (_value_of_comments if name == "comment_users" else _value_of_items)(world, item_type)
    return fill(cascade, popular, timed_requests, value_of, ids), ITEM_TYPE_SCENES[name]


def _evening_requests(
    bundle: ItemTypeBundle, item_type: WorldItemType, requests: Sequence[Request]
) -> Iterator[Request]:
    """Yields ``requests`` in equal parts at MINUTES of the next evening.

    Before each part the open rooms are set.
    """
    for minute, part in zip(MINUTES, np.array_split(np.arange(len(requests)), len(MINUTES)), strict=True):
        time_ms = bundle.snapshot.time_ms + EVENING_MS + minute * MINUTE_MS
        bundle.set_open(item_type.open_ids(time_ms))
        yield from (replace(requests[row], time_ms=time_ms) for row in part)


def _value_of_works(world: World, outcome: str) -> ValueOf:
    snapshot = world.dataset.snapshot

    def value_of(request: Request, ids: NDArray[Any]) -> NDArray[Any]:
        user = np.repeat(snapshot.users.lookup(np.array([request.user_number])), len(ids))
        scene = SCENES.index(request.scene) if request.scene in SCENES else 0
        times, scenes = np.full(len(ids), request.time_ms), np.full(len(ids), scene)
        return world.outcomes([outcome], user, snapshot.works.lookup(ids), times, scenes)[:, 0]

    return value_of


def _value_of_comments(world: World, people: WorldItemType) -> ValueOf:
    """Returns the mean probability of a comment over the works of a person's vector."""
    works_of, comment = people.data.works_of, _value_of_works(world, "comment")

    def value_of(request: Request, ids: NDArray[Any]) -> NDArray[Any]:
        rows = people.data.item_type.items.lookup(ids)
        works = [works_of.row_values(row) for row in rows.tolist()]
        probabilities = comment(request, np.concatenate([np.empty(0, np.int64), *works]))
        owner = np.repeat(np.arange(len(ids)), [len(row_works) for row_works in works])
        sums, counts = np.bincount(owner, probabilities, len(ids)), np.bincount(owner, minlength=len(ids))
        return np.asarray(sums / np.maximum(counts, 1))

    return value_of


def _value_of_items(world: World, item_type: WorldItemType) -> ValueOf:
    users = world.dataset.snapshot.users

    def value_of(request: Request, ids: NDArray[Any]) -> NDArray[Any]:
        return item_type.value(np.repeat(users.lookup(np.array([request.user_number])), len(ids)), ids)

    return value_of
