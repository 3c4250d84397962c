"""The population that all arms share: the world before the days, and all random numbers of the days."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.advance import advance
from karec.catalog.impressions import Impressions
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.lab.simulate.arm_log import NEVER
from karec.lab.simulate.returns import (
    MAX_PAGES,
    PAGE_PROBABILITY,
    VISIT_PROBABILITY,
    Visits,
    draw_visits,
    session_rates,
    starting_levels,
)
from karec.lab.simulate.uploads import Potential, draw_potential, draw_works
from karec.lab.simulate.world import Truth, World, make_world
from karec.lab.simulate.world.platform import work_table
from karec.lab.simulate.world.satiation import KUAIRAND, Satiation
from karec.times import DAY_MS, Progress

WORLD_DAYS = 14
PAGE = 10  # works per page
CHUNK = 200_000


@dataclass(frozen=True)
class Sizes:
    """Sizes of the world and the days. ``exposures``: impressions of the two weeks before."""

    works: int
    users: int
    exposures: int
    days: int
    seed: int

    def __post_init__(self) -> None:
        if self.days < 1:
            raise ValueError(f"days is {self.days}, expected at least 1")


@dataclass(frozen=True)
class Part:
    """Sample of a world that is too large to simulate: ``users`` users may visit the platform.

    The library has the works that they were shown before, and ``works`` percent of the others, uploads
    included.
    """

    users: int
    works: float


@dataclass(frozen=True, eq=False)
class Population:
    """Users, works and random numbers; ``truth`` and ``snapshot`` have the same rows.

    snapshot           the platform at the beginning of the days, with all potential works (counters 0)
    first_ms           begin of the first day
    levels             (U,) each user's starting level of enjoyment (``returns``)
    recent_works       (U, window) int32 last works shown to each user, oldest first, padded with −1
    daily_impressions  (C,) impressions per day of each creator, before the days
    is_visitor         (U,) bool: users who may visit the platform
    """

    world: World
    truth: Truth
    snapshot: Snapshot
    first_ms: int
    visits: Visits
    potential: Potential
    levels: NDArray[Any]
    recent_works: NDArray[Any]
    daily_impressions: NDArray[Any]
    is_visitor: NDArray[Any]


def make_population(
    sizes: Sizes, satiation: Satiation = KUAIRAND, progress: Progress | None = None
) -> Population:
    """Makes a world and its population.

    The same arguments give the same population; more days have equal first days.
    """
    world = make_world(
        sizes.works, sizes.users, sizes.exposures, days=WORLD_DAYS, seed=sizes.seed, satiation=satiation,
        progress=progress,
    )  # fmt: skip
    return population_of(world, sizes.days, sizes.seed)


def population_of(world: World, days: int, seed: int, part: Part | None = None) -> Population:
    """Makes the days after the weeks of ``world``, or of a ``part`` of it."""
    seeds = [int(state) for state in np.random.SeedSequence([seed, 1]).generate_state(4)]
    old_truth, people, first_ms = world.truth, world.truth.people, world.truth.time_ms
    works = draw_works(old_truth, WORLD_DAYS, days, seeds[0])
    truth = replace(old_truth, works=works, time_ms=first_ms + days * DAY_MS)
    impressions = world.dataset.exposures
    snapshot = with_works(advance(world.dataset.snapshot, impressions, first_ms), truth)
    user, work = snapshot.users.lookup(impressions.user_id), snapshot.works.lookup(impressions.work_id)
    rng = np.random.default_rng(seeds[3])
    is_visitor, is_in_library = _sample(part, user, work, len(people), len(works), rng)
    visits = draw_visits(people, days, first_ms, seeds[1]).take_users(is_visitor)
    pages_per_session = sum(PAGE_PROBABILITY**page for page in range(MAX_PAGES))
    impressions_per_day = (
        float(session_rates(people)[is_visitor].sum()) * VISIT_PROBABILITY * PAGE * pages_per_session
    )
    coins = np.random.default_rng(seeds[2])
    potential = draw_potential(works, people.creators, first_ms, impressions_per_day, coins)
    potential = replace(potential, day=np.where(is_in_library, potential.day, NEVER).astype(np.int32))
    counts = np.bincount(potential.find_rows(works.creator[work]), minlength=len(potential.creators))
    levels = starting_levels(user, _enjoyment(truth, user, work, impressions), len(people))
    recent_works = _latest(user, work, len(people), max(truth.satiation.window, 1))
    daily_impressions = counts / counts.sum() * potential.mean_daily_impressions * len(people.creators)
    return Population(
        world,
        truth,
        snapshot,
        first_ms,
        visits,
        potential,
        levels,
        recent_works,
        daily_impressions,
        is_visitor,
    )


def _sample(
    part: Part | None,
    user: NDArray[Any],
    work: NDArray[Any],
    users: int,
    works: int,
    rng: np.random.Generator,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (users,) bool, users who may visit, and (works,) bool, works that are or will be uploaded."""
    if part is None:
        return np.ones(users, bool), np.ones(works, bool)
    is_visitor = np.zeros(users, bool)
    is_visitor[rng.permutation(users)[: part.users]] = True
    is_in_library = rng.random(works) < part.works / 100.0
    is_in_library[work[is_visitor[user]]] = True
    return is_visitor, is_in_library


def with_works(snapshot: Snapshot, truth: Truth) -> Snapshot:
    """Returns ``snapshot`` with the works of ``truth`` that it lacks, the last ones, with counters 0."""
    n, works = len(snapshot.works), truth.works
    new_works = type(works)(**{name: column[n:] for name, column in vars(works).items()})
    new_table = work_table(truth.people, truth.songs, new_works, first_row=n)

    def extend(name: str, column: NDArray[Any]) -> NDArray[Any]:
        values = new_table.columns.get(name, np.zeros(len(new_table), column.dtype))
        return np.concatenate([column, values.astype(column.dtype)])

    columns = {name: extend(name, np.asarray(column)) for name, column in snapshot.works.columns.items()}
    return replace(snapshot, works=Table(np.concatenate([snapshot.works.ids, new_table.ids]), columns))


def _enjoyment(
    truth: Truth, user: NDArray[Any], work: NDArray[Any], impressions: Impressions
) -> NDArray[Any]:
    """Returns (M,) float32: expected long views of the impressions."""
    repeats = truth.repeats(user, work)
    parts = []
    for begin in range(0, len(user), CHUNK):
        rows = slice(begin, begin + CHUNK)
        chances = truth.probabilities(
            user[rows], work[rows], time_ms=impressions.time_ms[rows], scene=impressions.scene[rows],
            repeats={cause: count[rows] for cause, count in repeats.items()},
        )  # fmt: skip
        parts.append(chances["long_view"])
    return np.concatenate(parts)


def _latest(user: NDArray[Any], work: NDArray[Any], n_users: int, width: int) -> NDArray[Any]:
    """Returns (U, width) int32: last works of each user, oldest first, of M rows in time order, padded
    with −1.
    """
    order = np.argsort(user, kind="stable")
    ends = np.searchsorted(user[order], np.arange(n_users), side="right")
    starts = np.searchsorted(user[order], np.arange(n_users))
    places = ends[:, None] - np.arange(width, 0, -1)
    return np.where(places >= starts[:, None], work[order][np.maximum(places, 0)], -1).astype(np.int32)
