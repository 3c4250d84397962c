"""Creators upload the more the more they are seen, and quit when nobody sees them.

Potential uploads are drawn once, common to all arms: POTENTIAL times as many as were uploaded a day before,
each with a coin. One is realised when

    coin < chance = LEAST + (1 − LEAST) · s / (s + 1)          s = what the creator was seen / what a mean one
      would be

``seen`` is a running mean of works shown a day, of REMEMBERS days. So a creator who is seen as much as the
mean uploads as often as before, and twice as much attention gives a third more: a concave answer, which by
itself rewards spreading. A creator with works on the platform none of which was shown on ``patience`` days in
a row quits, and uploads no more; patience is drawn once: LEAST_PATIENCE days and a geometric number more.
None of these numbers is fitted to any data.

With ``n_new_creators``, that many users who are no creators upload their first item on each day. From
then on they have as many potential uploads as a mean creator, which are realised by what they are shown, as
others' are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.arm_log import BEFORE, NEVER, REFUSED
from karec.lab.simulate.world.catalogue import Works, make_works, works_by
from karec.lab.simulate.world.people import People
from karec.lab.simulate.world.platform import BEFORE_DAYS
from karec.lab.simulate.world.tastes import Truth
from karec.times import DAY_MS

POTENTIAL = 2.0
LEAST = 0.05
REMEMBERS = 3.0
LEAST_PATIENCE, MORE_PATIENCE = 3, 4.0  # days: the least, and the mean of those on top


@dataclass(frozen=True, eq=False)
class Potential:
    """Works that may be uploaded, common to all arms.

    ``day (W,)``: BEFORE, or the day of the upload; ``coin (W,)``; ``creator (W,)`` user rows; ``creators
    (C,)`` user rows, ascending; ``patience (C,)`` days; ``mean_seen``: works shown a day of a mean creator of
    the days before.
    """

    day: NDArray[Any]
    coin: NDArray[Any]
    creator: NDArray[Any]
    creators: NDArray[Any]
    patience: NDArray[Any]
    mean_seen: float

    def rows_of(self, user: NDArray[Any]) -> NDArray[Any]:
        """Rows of ``creators`` for user rows that upload."""
        return np.searchsorted(self.creators, user)


def draw_debutants(people: People, n_new_creators: int, days: int, seed: int) -> NDArray[Any]:
    """Returns (days, n_new_creators) rows of the users who upload for the first time on each day.

    Raises:
        ValueError: there are too few users who are no creators.
    """
    others = np.setdiff1d(np.flatnonzero(~people.newcomers), people.creators)
    if n_new_creators * days > len(others):
        raise ValueError(
            f"new_creators_per_day = {n_new_creators} on {days} days, of {len(others)} users without items"
        )
    return (
        np.random.default_rng(seed).permutation(others)[: n_new_creators * days].reshape(days, n_new_creators)
    )


def draw_works(truth: Truth, world_days: int, debutants: NDArray[Any], seed: int) -> Works:
    """The truth's works, then the potential ones of each day of ``debutants``, by upload; a day is drawn by
    itself."""
    n = round(POTENTIAL * len(truth.works) / (BEFORE_DAYS + world_days))
    parts = [truth.works]
    for day in range(len(debutants)):
        begin, rng = truth.time_ms + day * DAY_MS, np.random.default_rng([seed, day])
        works = make_works(n, truth.people, truth.songs, begin, begin + DAY_MS, rng)
        theirs = _of_debutants(truth, debutants[: day + 1], n, begin, np.random.default_rng([seed, day, 1]))
        both = _joined([works, theirs])
        order = np.argsort(both.upload_ms, kind="stable")
        parts.append(Works(**{name: column[order] for name, column in vars(both).items()}))
    return _joined(parts)


def _of_debutants(
    truth: Truth, debutants: NDArray[Any], n: int, begin: int, rng: np.random.Generator
) -> Works:
    """One work of each of the last row of ``debutants``, and of those before as many as of a mean creator,
    when all others have ``n``.
    """
    users, new = debutants.ravel(), debutants.shape[1]
    more = rng.poisson(n / len(truth.people.creators), len(users) - new)
    rank = np.concatenate(
        [np.repeat(np.arange(len(users) - new), more), np.arange(len(users) - new, len(users))]
    )
    people = replace(truth.people, creators=users, fame=np.full(len(users), 1.0 / max(len(users), 1)))
    return works_by(rng.permutation(rank), people, truth.songs, begin, begin + DAY_MS, rng)


def _joined(parts: Sequence[Works]) -> Works:
    return Works(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def draw_potential(
    works: Works,
    creators: NDArray[Any],
    debutants: NDArray[Any],
    first_ms: int,
    seen: float,
    rng: np.random.Generator,
) -> Potential:
    """Coins and patience; works uploaded before ``first_ms`` are there, and the first one of each of
    ``debutants`` is uploaded. ``seen``: works shown a day in all, before the days.
    """
    day = np.where(works.upload_ms < first_ms, BEFORE, (works.upload_ms - first_ms) // DAY_MS).astype(
        np.int32
    )
    old, new = np.sort(creators), debutants.ravel()
    patience = LEAST_PATIENCE + rng.geometric(1.0 / MORE_PATIENCE, len(old))
    coin = rng.random(len(works))
    authors, first = np.unique(works.creator, return_index=True)
    coin[first[np.isin(authors, new)]] = 0.0
    theirs = LEAST_PATIENCE + rng.spawn(1)[0].geometric(1.0 / MORE_PATIENCE, len(new))
    order = np.argsort(np.concatenate([old, new]))
    creators, patience = np.concatenate([old, new])[order], np.concatenate([patience, theirs])[order]
    return Potential(day, coin, works.creator, creators, patience, seen / len(old))


@dataclass(frozen=True, eq=False)
class Creators:
    """How creators stand in one arm: ``seen (C,)`` works a day, ``unseen (C,)`` days in a row, ``quit_day
    (C,)`` −1 for those who are there; ``upload_day (W,)`` as of ``ArmLog.work_upload_day``.
    """

    seen: NDArray[Any]
    unseen: NDArray[Any]
    quit_day: NDArray[Any]
    upload_day: NDArray[Any]

    @classmethod
    def at_start(cls, potential: Potential, seen: NDArray[Any]) -> Self:
        """``seen (C,)``: works of each that were shown a day, before the days."""
        n = len(potential.creators)
        upload_day = np.where(potential.day == BEFORE, BEFORE, NEVER).astype(np.int32)
        return cls(seen, np.zeros(n, np.int32), np.full(n, -1, np.int32), upload_day)

    def upload(self, potential: Potential, day: int) -> Creators:
        """The uploads of ``day``, by what was seen until it began."""
        works = np.flatnonzero(potential.day == day)
        creator = potential.rows_of(potential.creator[works])
        s = self.seen[creator] / potential.mean_seen
        realised = (potential.coin[works] < LEAST + (1.0 - LEAST) * s / (s + 1.0)) & (
            self.quit_day[creator] < 0
        )
        upload_day = self.upload_day.copy()
        upload_day[works[realised]] = day
        return replace(self, upload_day=upload_day)

    def without(self, works: NDArray[Any]) -> Creators:
        """After screening refused ``works``, rows of those that were uploaded: they are on no platform."""
        upload_day = self.upload_day.copy()
        upload_day[works] = REFUSED
        return replace(self, upload_day=upload_day)

    def look(self, potential: Potential, day: int, shown: NDArray[Any]) -> Creators:
        """After ``day``, on which works of the user rows ``shown (M,)`` were shown."""
        n = len(potential.creators)
        counts = np.bincount(potential.rows_of(shown), minlength=n)
        has_works = np.zeros(n, bool)
        has_works[potential.rows_of(potential.creator[self.upload_day < day])] = True
        unseen = np.where((counts > 0) | ~has_works, 0, self.unseen + 1).astype(np.int32)
        quits = (unseen >= potential.patience) & (self.quit_day < 0)
        seen = self.seen + (counts - self.seen) / REMEMBERS
        return replace(
            self, seen=seen, unseen=unseen, quit_day=np.where(quits, day, self.quit_day).astype(np.int32)
        )
