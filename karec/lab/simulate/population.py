"""What is common to all arms: the world until the days begin, and every coin of the days themselves."""

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
from karec.lab.simulate.returns import MORE, MOST_PAGES, NEUTRAL, Visits, draw_visits, rates, starting_levels
from karec.lab.simulate.uploads import Potential, draw_debutants, draw_potential, draw_works
from karec.lab.simulate.world import Truth, World, make_world
from karec.lab.simulate.world.platform import work_table
from karec.lab.simulate.world.satiation import KUAIRAND, Satiation
from karec.times import DAY_MS, Progress

WORLD_DAYS = 14
PAGE = 10  # works of a page
CHUNK = 200_000


@dataclass(frozen=True)
class Sizes:
    """Of the world and of the days. ``exposures``: what was shown in the two weeks before."""

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
    """What is played of a world that is too large: ``users`` of its users may come, and the library is what
    they were shown before, and ``works`` in a hundred of the others, uploads included.
    """

    users: int
    works: float


@dataclass(frozen=True, eq=False)
class Population:
    """Users, works and coins; rows of ``truth`` and of ``snapshot`` are the same.

    snapshot     the platform as the days begin, with all works that may be uploaded; counters of those are 0
    first_ms     when the first day begins
    levels       (U,) each user's starting level of enjoyment (``returns``)
    lately       (U, window) int32 works that each user was shown last, oldest first, −1 where there were
                 fewer
    seen         (C,) works of each creator that are shown a day, before the days
    comers       (U,) bool: who may come, all but where a part is played
    """

    world: World
    truth: Truth
    snapshot: Snapshot
    first_ms: int
    visits: Visits
    potential: Potential
    levels: NDArray[Any]
    lately: NDArray[Any]
    seen: NDArray[Any]
    comers: NDArray[Any]


def make_population(
    sizes: Sizes,
    satiation: Satiation = KUAIRAND,
    progress: Progress | None = None,
    n_new_creators: int = 0,
) -> Population:
    """Equal arguments give equal populations; one of more days has the same first days."""
    world = make_world(
        sizes.works, sizes.users, sizes.exposures, days=WORLD_DAYS, seed=sizes.seed, satiation=satiation,
        progress=progress,
    )  # fmt: skip
    return population_of(world, sizes.days, sizes.seed, n_new_creators=n_new_creators)


def population_of(
    world: World, days: int, seed: int, part: Part | None = None, n_new_creators: int = 0
) -> Population:
    """The days that follow the weeks of ``world``, of all of it or of a ``part``; ``n_new_creators`` as in
    ``uploads``."""
    seeds = [int(each) for each in np.random.SeedSequence([seed, 1]).generate_state(5)]
    old, people, first_ms = world.truth, world.truth.people, world.truth.time_ms
    debutants = draw_debutants(people, n_new_creators, days, seeds[4])
    works = draw_works(old, WORLD_DAYS, debutants, seeds[0])
    truth = replace(old, works=works, time_ms=first_ms + days * DAY_MS)
    before = world.dataset.exposures
    snapshot = with_works(advance(world.dataset.snapshot, before, first_ms), truth)
    user, work = snapshot.users.lookup(before.user_id), snapshot.works.lookup(before.work_id)
    comers, played = _played(part, user, work, len(people), len(works), np.random.default_rng(seeds[3]))
    visits = draw_visits(people, days, first_ms, seeds[1]).of_users(comers)
    shown = (
        float(rates(people)[comers].sum()) * NEUTRAL * PAGE * sum(MORE**page for page in range(MOST_PAGES))
    )
    coins = np.random.default_rng(seeds[2])
    potential = draw_potential(works, people.creators, debutants, first_ms, shown, coins)
    potential = replace(potential, day=np.where(played, potential.day, NEVER).astype(np.int32))
    counts = np.bincount(potential.rows_of(works.creator[work]), minlength=len(potential.creators))
    levels = starting_levels(user, _enjoyment(truth, user, work, before), len(people))
    lately = _latest(user, work, len(people), max(truth.satiation.window, 1))
    seen = counts / counts.sum() * potential.mean_seen * len(people.creators)
    return Population(world, truth, snapshot, first_ms, visits, potential, levels, lately, seen, comers)


def _played(
    part: Part | None,
    user: NDArray[Any],
    work: NDArray[Any],
    users: int,
    works: int,
    rng: np.random.Generator,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(users,) who may come, (works,) which works are in the library or may be uploaded: both bool."""
    if part is None:
        return np.ones(users, bool), np.ones(works, bool)
    comers = np.zeros(users, bool)
    comers[rng.permutation(users)[: part.users]] = True
    played = rng.random(works) < part.works / 100.0
    played[work[comers[user]]] = True
    return comers, played


def with_works(snapshot: Snapshot, truth: Truth) -> Snapshot:
    """``snapshot`` with the works of ``truth`` that it lacks, the last ones; their counters are 0."""
    n, works = len(snapshot.works), truth.works
    last = type(works)(**{name: column[n:] for name, column in vars(works).items()})
    more = work_table(truth.people, truth.songs, last, first=n)

    def joined(name: str, column: NDArray[Any]) -> NDArray[Any]:
        new = more.columns.get(name, np.zeros(len(more), column.dtype))
        return np.concatenate([column, new.astype(column.dtype)])

    columns = {name: joined(name, np.asarray(column)) for name, column in snapshot.works.columns.items()}
    return replace(snapshot, works=Table(np.concatenate([snapshot.works.ids, more.ids]), columns))


def _enjoyment(truth: Truth, user: NDArray[Any], work: NDArray[Any], shown: Impressions) -> NDArray[Any]:
    """(M,) float32: the expected long view of what was shown."""
    repeats = truth.repeats(user, work)
    parts = []
    for begin in range(0, len(user), CHUNK):
        rows = slice(begin, begin + CHUNK)
        chances = truth.probabilities(
            user[rows], work[rows], time_ms=shown.time_ms[rows], scene=shown.scene[rows],
            repeats={cause: count[rows] for cause, count in repeats.items()},
        )  # fmt: skip
        parts.append(chances["long_view"])
    return np.concatenate(parts)


def _latest(user: NDArray[Any], work: NDArray[Any], n_users: int, width: int) -> NDArray[Any]:
    """(U, width) int32: the last works of each user, oldest first, of M rows in order of time; −1 before the
    first."""
    order = np.argsort(user, kind="stable")
    ends = np.searchsorted(user[order], np.arange(n_users), side="right")
    starts = np.searchsorted(user[order], np.arange(n_users))
    at = ends[:, None] - np.arange(width, 0, -1)
    return np.where(at >= starts[:, None], work[order][np.maximum(at, 0)], -1).astype(np.int32)
