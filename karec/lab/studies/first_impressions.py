"""First-impressions study: hours from the upload of a hit to its first impressions, by page policy.

A hit is an upload of the first day whose quality is set to HIT_QUALITY standard deviations. Its attributes do
not show it. The works of that day are published at midnight without counters, and the next days are played on
one bundle with a real online store: each slot's impressions are events, and pages read them in the next slot.

    frozen        steps and ranker read the counters of midnight
    store         the ranker reads the newest counters
    HALF-LIFE     store, with the source ``indicators`` and the scorer ``blend`` in prerank

Users have their newest lists in all arms. Cost: one training, and 5 ms per page.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import WORK, Events
from karec.bundle import Bundle
from karec.config.assemble import build_cascade
from karec.config.online import open_contents
from karec.config.scenes import Config
from karec.lab.report import Table
from karec.lab.simulate.arms import Arm, Arms
from karec.lab.simulate.nightly import first_training
from karec.lab.simulate.play_day import SLOT_MS
from karec.lab.simulate.population import Population, Sizes, make_population
from karec.lab.simulate.sessions import SCENE, Players, SimulatedDay
from karec.lab.simulate.world.feedback import feedback_coins, feedback_labels
from karec.online.apply_events import EventApplier
from karec.online.changed_items import ChangedItems
from karec.online.follow import Follower
from karec.online.followed_items import FollowedItems
from karec.online.item_changes import ItemChanges
from karec.online.store.contents import StoreContents
from karec.online.store.sqlite import SqliteStore
from karec.online.view import OnlineView
from karec.refresh.publish_run import publish
from karec.times import DAY_MS, HOUR_MS, Progress

SHARE = 0.5  # of rates in the scores of prerank and rank
HITS = 8  # of a world
HIT_QUALITY = 4.0
UPLOADED = 0.5  # fraction of the potential works of the first day
FIRST = 30  # random users to whom each upload is shown at midnight
THRESHOLDS = (100, 300, 1000)
RESAMPLES = 2000
PAST_IMPRESSIONS = 20  # to one user in the weeks before
LIMITS = {"recall": 400, "scored": 400, "prerank": 100, "rank": 40}
LEARN = {"towers": {"epochs": 2}, "evaluation": {"baselines": [], "resamples": 20}}


def arms() -> Arms:
    """Returns the arms; only those with a half-life have the steps of indicators."""
    return Arms(
        tuple(Arm(name, scene=_indicator_steps(half_life)) for name, half_life in HALF_LIVES.items()),
        scene={"limits": LIMITS, "side_effects": []},
        learn=LEARN,
        train_every=0,
    )


HALF_LIVES: Mapping[str, str | None] = {"frozen": None, "store": None, "hour": "hour", "day": "day"}


def _indicator_steps(half_life: str | None) -> dict[str, Any]:
    if half_life is None:
        return {}
    source = {"use": "indicators", "quota": 40, "min_items": 40, "half_life": half_life}
    blend = {"use": "blend", "share": SHARE, "half_life": half_life, "before": "top_k"}
    stages = {name: {"steps": {"blend": blend}} for name in ("prerank", "rank")}
    return {"recall": {"indicators": source}, "stages": stages}


class FrozenFollower(Follower):
    """Follower whose views have no counters of items."""

    def view(
        self, user_id: int, item_type: str = WORK, session: Events | None = None
    ) -> tuple[OnlineView, str | None]:
        view, failure = super().view(user_id, item_type, session)
        none, items = slice(0, 0), view.items
        items = items.replace_counters(items.counter_ids[none], items.counters[none], items.recent[none])
        return replace(view, items=items), failure


@dataclass(frozen=True, eq=False)
class Played:
    """One arm in one world.

    hours        (HITS, len(THRESHOLDS)) hours until a hit has the impressions, at most those played
    long_views   expected long views per 100 impressions of all works
    works        number of different works shown
    """

    hours: NDArray[Any]
    long_views: float
    works: int


def hours_to(times_ms: NDArray[Any], counts: Sequence[int], begin_ms: int, end_ms: int) -> list[float]:
    """Returns the hours from ``begin_ms`` until ``times_ms`` (M,) ascending has each of ``counts``, at most
    until ``end_ms``.
    """
    ends = [times_ms[count - 1] if count <= len(times_ms) else end_ms for count in counts]
    return [(int(end) - begin_ms) / HOUR_MS for end in ends]


def play_world(sizes: Sizes, out: Path, progress: Progress | None = None) -> dict[str, Played]:
    """Returns {arm: what was played} for one world; the first day has the uploads, the others are played."""
    population = _with_hits(make_population(sizes, progress=progress))
    is_uploaded = uploaded(population)
    hits = np.flatnonzero((population.truth.works.quality == HIT_QUALITY) & is_uploaded)
    run = first_training(population.world, LEARN, sizes.seed, out / "models")
    snapshot = replace(population.snapshot, works=population.snapshot.works.take(is_uploaded))
    shutil.rmtree(out / "bundles", ignore_errors=True)
    publish(run, snapshot, out / "bundles", lists=False, grouped=False)
    bundle = Bundle.open(out / "bundles", verify=False)
    first = _first_impressions(population)
    played = {}
    for arm in arms().arms:
        weights = population.world.dataset.objectives
        config = arms().config_of(arm, out / "karec.toml", out, snapshot, weights)
        follower_type = FrozenFollower if arm.name == "frozen" else Follower
        impressions = play(
            bundle, config, population, sizes, first=first, follower_type=follower_type, progress=progress
        )
        hours = hours_of(impressions, hits, population, sizes)
        long_views = 100.0 * float(impressions["p_long_view"].mean())
        played[arm.name] = Played(hours, long_views, len(np.unique(impressions["work"])))
    return played


def _with_hits(population: Population) -> Population:
    """Returns the population whose first HITS realised works of the first day are hits."""
    works = population.truth.works
    quality = works.quality.copy()
    quality[np.flatnonzero((population.potential.day == 0) & uploaded(population))[:HITS]] = HIT_QUALITY
    return replace(population, truth=replace(population.truth, works=replace(works, quality=quality)))


def uploaded(population: Population) -> NDArray[Any]:
    """Returns (W,) bool: works that exist after the first day."""
    potential = population.potential
    return np.asarray((potential.day < 0) | ((potential.day == 0) & (potential.coin < UPLOADED)))


def play(
    bundle: Bundle,
    config: Config,
    population: Population,
    sizes: Sizes,
    *,
    first: Mapping[str, NDArray[Any]] | None = None,
    follower_type: type[Follower] = Follower,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """Returns the impressions (``DayResult.impressions``) of the days after the first one.

    Pages are those of ``bundle`` with an online store, which has the impressions ``first`` before. Cost: 5 ms
    per page.
    """
    contents = StoreContents(bundle.snapshot, open_contents(bundle).head)
    store, applier = SqliteStore(None), EventApplier(contents)
    changes = ItemChanges(bundle.snapshot, lambda *_: -1, lambda *_: "")
    follower = follower_type(store, [FollowedItems(contents, changes, _keep_index)], None)
    follower.poll()
    cascade = build_cascade(config, SCENE, bundle, follower)
    if first is not None:
        store.append(_events(first, contents, population), applier)
        follower.poll()
    days = []
    slots = DAY_MS // SLOT_MS
    for day in range(1, sizes.days):
        rows = np.arange(len(population.visits.day))[population.visits.day_rows(day)]
        simulated = SimulatedDay(population, day, bundle.snapshot, cascade)
        players = Players(simulated, rows, population.levels, population.recent_works)
        n_stored, impressions = 0, players.result().impressions
        for slot in range(1, slots + 1):
            players.play(population.first_ms + day * DAY_MS + slot * SLOT_MS)
            impressions = players.result().impressions
            new = {name: column[n_stored:] for name, column in impressions.items()}
            n_stored = len(impressions["work"])
            if len(new["work"]):
                store.append(_events(new, contents, population), applier)
                follower.poll()
            if progress is not None:
                progress(slot, slots, f"day {day}")
        days.append(impressions)
    return {name: np.concatenate([day[name] for day in days]) for name in days[0]}


def hours_of(
    impressions: Mapping[str, NDArray[Any]], works: NDArray[Any], population: Population, sizes: Sizes
) -> NDArray[Any]:
    """Returns (len(works), len(THRESHOLDS)) hours until the works have the impressions, see ``hours_to``."""
    begin_ms, end_ms = (population.first_ms + day * DAY_MS for day in (1, sizes.days))
    times = [np.sort(impressions["time_ms"][impressions["work"] == work]) for work in works]
    return np.array([hours_to(work_times, THRESHOLDS, begin_ms, end_ms) for work_times in times])


def _first_impressions(population: Population) -> dict[str, NDArray[Any]]:
    """Returns impressions of each upload to FIRST random users at midnight, the same in all arms."""
    works = np.repeat(np.flatnonzero(uploaded(population) & (population.potential.day == 0)), FIRST)
    users = np.random.default_rng(0).integers(0, len(population.levels), len(works))
    time_ms = np.full(len(works), population.first_ms + DAY_MS)
    truth = population.truth
    probabilities = truth.probabilities(users, works, time_ms=time_ms)
    labels = feedback_labels(probabilities, feedback_coins(truth, users, works))
    return {"user": users, "work": works, "time_ms": time_ms, "position": np.arange(len(works)), **labels}


def _keep_index(items: ChangedItems, update: object) -> None:
    """Nothing is uploaded while users play."""


def _events(new: Mapping[str, NDArray[Any]], contents: StoreContents, population: Population) -> Events:
    labels = np.zeros(len(new["work"]), np.uint64)
    for bit, label in enumerate(contents.head.labels):
        if label in new:
            labels |= new[label].astype(np.uint64) << np.uint64(bit)
    snapshot = population.snapshot
    return Events.from_columns(
        "impression",
        source=new["user"],
        number=new["time_ms"] + new["position"],
        time_ms=new["time_ms"],
        logged_ms=new["time_ms"],
        user_id=snapshot.users.ids[new["user"]],
        item_id=snapshot.works.ids[new["work"]],
        position=new["position"],
        labels=labels,
    )


def first_impressions_table(worlds: Sequence[Mapping[str, Played]]) -> Table:
    """Returns mean hours of the hits of all worlds, and changes against ``store`` with 95 % intervals.

    Intervals: paired bootstrap over hits.
    """
    hours = {arm: np.concatenate([world[arm].hours for world in worlds]) for arm in HALF_LIVES}
    rng = np.random.default_rng(0)
    samples = rng.integers(0, len(hours["store"]), (RESAMPLES, len(hours["store"])))
    rows = []
    for arm, values in hours.items():
        change = values - hours["store"]
        low, high = np.quantile(change[samples].mean(axis=1), [0.025, 0.975], axis=0)
        cells = [
            f"{mean:.1f}" if arm == "store" else f"{mean:.1f} ({d:+.1f} [{a:+.1f}, {b:+.1f}])"
            for mean, d, a, b in zip(values.mean(axis=0), change.mean(axis=0), low, high, strict=True)
        ]
        long_views = np.mean([world[arm].long_views for world in worlds])
        works = np.mean([world[arm].works for world in worlds])
        rows.append((arm, *cells, f"{long_views:.1f}", f"{works:.0f}"))
    head = (
        "arm",
        *(f"hours to {count}" for count in THRESHOLDS),
        "long views per 100 impressions",
        "works shown",
    )
    return Table(f"{len(hours['store'])} hits of {len(worlds)} worlds", head, rows)
