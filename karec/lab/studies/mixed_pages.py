"""Pages of works, live rooms and songs in the world: calibrates them by played days, then checks them.

1. Users see pages of the three scenes by themselves, each user on one of several days. Their outcomes, drawn
   from the world's truth, go into the online store. They calibrate the mixed scene for the first time.
2. Users see mixed pages on two days. These calibrate the mixed scene again.
3. On the next day all users see a mixed page. These are written as JSON lines that other programs can check:

    {"user_id", "k", "types": [item type by place], "ids": [...], "probabilities": [...],
     "enjoyed": [0 or 1, drawn], "n_items": {item type: items in the list of its scene}, "degraded": [...]}

The check counts types with exact fractions and tries all numbers of items by type. It shares no code with
the selection. The calibration error compares the probabilities of these pages with their drawn outcomes. The
world has no uploads meanwhile, so ``following`` may show a work again on another day. Requests are spread
over HOURS, since other rooms are open at each of them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.hot_swap import HotSwap
from karec.bundle.item_types import ItemTypeBundle
from karec.config.calibrate import CalibratedType, calibrate_scene
from karec.config.open import open_hot_swap
from karec.errors import DataError
from karec.evaluate.calibration import calibration_error
from karec.evaluate.tables import format_measure
from karec.lab.report import Table
from karec.lab.simulate.world import World
from karec.lab.simulate.world.item_types import WorldItemType, make_item_types
from karec.lab.simulate.world.tastes import SCENES
from karec.pipeline.types import WORK_TYPE, Page, Request
from karec.times import DAY_MS, HOUR_MS, Progress

SCENE = "following"
OTHERS = {"live": "live", "song": "song_request"}
POSITIONS, CAPS, GUARANTEES = {"live": [0]}, {"live": 0.3, "song": 0.4}, {"song": 0.1, WORK_TYPE: 0.2}
MIXED_DAYS = 2
HOURS = (8, 10, 12, 14, 16, 18, 20, 22)  # after the snapshot, of a day
BATCH = 200  # pages whose events are stored together
STORE, PAGES = "mixed.db", "mixed-pages.jsonl"
MIX = f"""
[scenes.{SCENE}.mix]
scenes = {{ live = "live", song = "song_request" }}
positions = {{ live = [0] }}
caps = {{ live = 0.3, song = 0.4 }}
guarantees = {{ song = 0.1, work = 0.2 }}
"""


@dataclass(frozen=True, eq=False)
class WorldOutcomes:
    """Draws the labels of shown items by the truth of ``world``. ``item_types``: those of the bundle."""

    world: World
    item_types: Mapping[str, WorldItemType]
    rng: np.random.Generator

    def draw(self, page: Page) -> list[list[str]]:
        """Returns the positive labels of each item of ``page``. One uniform number decides all labels."""
        users = self.world.dataset.snapshot.users
        user = users.lookup(np.array([page.request.user_number]))
        drawn = []
        for item in page.items:
            ids = np.array([item.item_id])
            if item.item_type == WORK_TYPE:
                row = self.world.dataset.snapshot.works.lookup(ids)
                scene, time_ms = np.array([SCENES.index(SCENE)]), np.array([page.request.time_ms])
                values = self.world.task_probabilities(user, row, time_ms, scene)[0]
                p = dict(zip(self.world.dataset.tasks, values.tolist(), strict=True))
            else:
                made = self.item_types[item.item_type]
                rows = made.data.item_type.items.lookup(ids)
                p = {name: float(value[0]) for name, value in made.tastes.probabilities(user, rows).items()}
            uniform = self.rng.random()
            drawn.append([label for label, probability in p.items() if uniform < probability])
        return drawn


def study_mixed_pages(
    world: World, config: Path, *, n_days: int, n_pages: int, k: int, seed: int, progress: Progress
) -> tuple[list[CalibratedType], list[dict[str, Any]]]:
    """Returns the second calibrations, and the pages that it writes to PAGES beside ``config``.

    ``config``: a karec.toml of ``karec demo --scene all`` on ``world``, without a table online. Two files
    are written beside it: parts.toml, and mixed.toml with the table mix. Raises DataError if STORE exists.
    """
    folder = config.parent
    if (folder / STORE).exists():
        raise DataError(f"{folder / STORE}: the events of an earlier study. Remove it to play again.")
    text = f'online = {{ url = "sqlite:{STORE}" }}\n{config.read_text(encoding="utf-8")}'
    text = text.replace(f"[scenes.{SCENE}]\n", f"[scenes.{SCENE}]\nshow_again = true\n")
    (folder / "parts.toml").write_text(text, encoding="utf-8")
    (folder / "mixed.toml").write_text(text + MIX, encoding="utf-8")
    users = np.asarray(world.dataset.snapshot.users.ids)
    users = np.random.default_rng(seed).permutation(users)[:n_pages]
    with open_hot_swap(folder / "parts.toml", None) as swap:
        snapshot = swap.cascades[SCENE].bundle.snapshot  # type: ignore[union-attr]
        outcomes = WorldOutcomes(world, make_item_types(world, snapshot), np.random.default_rng(seed))
        day_ms = snapshot.time_ms
        for day in range(n_days):
            for scene in (SCENE, *OTHERS.values()):
                for _ in _play_day(swap, outcomes, scene, users[day::n_days], day_ms, k, progress):
                    pass
            day_ms += DAY_MS
    calibrate_scene(folder / "mixed.toml", SCENE)
    with open_hot_swap(folder / "mixed.toml", SCENE) as swap:
        for _ in range(MIXED_DAYS):
            for _ in _play_day(swap, outcomes, SCENE, users, day_ms, k, progress):
                pass
            day_ms += DAY_MS
    calibrated = calibrate_scene(folder / "mixed.toml", SCENE, days=MIXED_DAYS)
    with open_hot_swap(folder / "mixed.toml", SCENE) as swap:
        played = _play_day(swap, outcomes, SCENE, users, day_ms, k, progress)
        pages = [_to_row(swap, page, labels) for page, labels in played]
    (folder / PAGES).write_text("".join(json.dumps(page) + "\n" for page in pages), encoding="utf-8")
    return calibrated, pages


def _play_day(
    swap: HotSwap,
    outcomes: WorldOutcomes,
    scene: str,
    users: NDArray[Any],
    day_ms: int,
    k: int,
    progress: Progress,
) -> Iterator[tuple[Page, list[list[str]]]]:
    """Yields the pages of a day and their labels: each user at one of HOURS."""
    for i, hour in enumerate(HOURS):
        progress(i, len(HOURS), f"pages of {scene}")
        yield from _play(swap, outcomes, scene, users[i :: len(HOURS)], day_ms + hour * HOUR_MS, k)


def _play(
    swap: HotSwap,
    outcomes: WorldOutcomes,
    scene: str,
    users: NDArray[Any],
    time_ms: int,
    k: int,
) -> Iterator[tuple[Page, list[list[str]]]]:
    """Yields a page of each user and its labels. Stores the events, and opens the rooms of that moment."""
    for name in OTHERS:
        part = swap.cascades[OTHERS[name]].bundle
        assert isinstance(part, ItemTypeBundle)
        if outcomes.item_types[name].hours is not None:
            part.set_open(outcomes.item_types[name].open_ids(time_ms))
    rows: list[dict[str, Any]] = []
    for done, user in enumerate(users.tolist(), 1):
        page = swap.run(Request(user, k, scene, time_ms, request_id=f"{scene}-{time_ms}-{user}"))
        labels = outcomes.draw(page)
        for item, names in zip(page.items, labels, strict=True):
            row = {"user_id": user, "item_id": item.item_id, "item_type": item.item_type, "scene": scene}
            shown = {"position": item.position, "request_id": page.request.request_id, "time_ms": time_ms}
            rows.append({"event": "impression", **row, **shown})
            if names:
                rows.append({"event": "label", **row, "labels": names, "time_ms": time_ms + 1_000})
        if done % BATCH == 0 or done == len(users):
            refused = swap.record(rows, now_ms=time_ms + HOUR_MS).refused
            if refused:
                raise DataError(f"the online store refused events: {dict(refused)}")
            rows = []
        yield page, labels


def _to_row(swap: HotSwap, page: Page, labels: Sequence[Sequence[str]]) -> dict[str, Any]:
    cascade = swap.cascades[SCENE]
    bundles = {WORK_TYPE: cascade.bundle, **{part.item_type: part.bundle for part in cascade.parts}}
    enjoyed = {
        name: {*items.snapshot.meaning.enjoyed} for name, items in bundles.items() if items is not None
    }
    return {
        "user_id": page.request.user_id,
        "k": page.request.k,
        "types": [item.item_type for item in page.items],
        "ids": [item.item_id for item in page.items],
        "probabilities": [item.score for item in page.items],
        "enjoyed": [
            int(bool(enjoyed[item.item_type] & {*names}))
            for item, names in zip(page.items, labels, strict=True)
        ],
        "n_items": dict(page.trace.steps[-1].notes["n_items"]),
        "degraded": list(page.degraded),
    }


def check_page(page: Mapping[str, Any]) -> dict[str, bool]:
    """Returns which facts hold for a page of ``study_mixed_pages``.

    is_possible  a page can hold all constraints; has_shares: one can hold caps and guarantees
    holds_all    it holds all; holds_shares: it holds caps and guarantees
    is_named     ``degraded`` names exactly the constraints that it breaks
    is_full      it has as many items as there are, at most k
    """
    types, n_items, k = page["types"], page["n_items"], page["k"]
    broken = {
        *(f"cap of {name}" for name in CAPS if types.count(name) > _max(name, k)),
        *(f"guarantee of {name}" for name in GUARANTEES if types.count(name) < _min(name, k)),
    }
    holds_shares = not broken
    for name, places in POSITIONS.items():
        broken |= {f"position {p} of {name}" for p in places if p >= len(types) or types[p] != name}
    named = {text.partition("mix.item_types: ")[2] for text in page["degraded"] if "mix.item_types: " in text}
    n = min(k, sum(n_items.values()))
    return {
        "is_possible": _is_possible(n_items, n, k, POSITIONS),
        "has_shares": _is_possible(n_items, n, k, {}),
        "holds_all": not broken,
        "holds_shares": holds_shares,
        "is_named": named == broken,
        "is_full": len(types) == n,
    }


def _max(name: str, k: int) -> int:
    return floor(Fraction(str(CAPS.get(name, 1))) * k)


def _min(name: str, k: int) -> int:
    return ceil(Fraction(str(GUARANTEES.get(name, 0))) * k)


def _is_possible(n_items: Mapping[str, int], n: int, k: int, positions: Mapping[str, Sequence[int]]) -> bool:
    """Tries all numbers of items by type that fill n places."""
    if any(place >= n for places in positions.values() for place in places):
        return False
    for counts in itertools.product(range(n + 1), repeat=len(n_items)):
        by_type = dict(zip(n_items, counts, strict=True))
        if sum(counts) == n and all(
            max(_min(name, k), len(positions.get(name, ()))) <= count <= min(_max(name, k), n_items[name])
            for name, count in by_type.items()
        ):
            return True
    return False


def mixed_pages_tables(
    calibrated: Sequence[CalibratedType], pages: Sequence[Mapping[str, Any]], seed: int = 0
) -> list[Table]:
    """Returns the table of constraints and the one of calibration errors."""
    facts = [check_page(page) for page in pages]
    rows = [
        ("pages", len(pages)),
        ("all constraints can hold", sum(fact["is_possible"] for fact in facts)),
        (
            "… and a constraint is broken",
            sum(fact["is_possible"] and not fact["holds_all"] for fact in facts),
        ),
        ("caps and guarantees can hold", sum(fact["has_shares"] for fact in facts)),
        ("… and one is broken", sum(fact["has_shares"] and not fact["holds_shares"] for fact in facts)),
        ("degraded names other constraints than the broken", sum(not fact["is_named"] for fact in facts)),
        ("fewer items than there are", sum(not fact["is_full"] for fact in facts)),
    ]
    checks = Table("Constraints of mixed pages", ("pages", "number"), [(name, f"{n:,}") for name, n in rows])
    errors = []
    for result in calibrated:
        shown = [
            (page["user_id"], p, y)
            for page in pages
            for name, p, y in zip(page["types"], page["probabilities"], page["enjoyed"], strict=True)
            if name == result.item_type
        ]
        users, p, y = (np.array(column) for column in zip(*shown, strict=True))
        error = calibration_error(users, y, p, seed)
        errors.append(
            (
                result.item_type,
                f"{result.n_rows:,}",
                format_measure(result.error.ece, result.error.interval),
                f"{len(p):,}",
                f"{y.mean():.4f}",
                format_measure(error.ece, error.interval),
            )
        )
    head = ("item type", "items", "error on the last day", "items on mixed pages", "enjoyed", "error")
    return [checks, Table("Calibration error by type (95 % intervals over users)", head, errors)]
