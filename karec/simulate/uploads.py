"""Creators upload the more the more they are seen, and quit when nobody sees them.

Potential uploads are drawn once, common to all arms: POTENTIAL times as many as were uploaded a day before, each with a
coin. One is realised when

    coin < chance = LEAST + (1 − LEAST) · s / (s + 1)          s = what the creator was seen / what a mean one would be

``seen`` is a running mean of works shown a day, of REMEMBERS days. So a creator who is seen as much as the mean uploads
as often as before, and twice as much attention gives a third more: a concave answer, which by itself rewards spreading.
A creator with works on the platform none of which was shown on ``patience`` days in a row quits, and uploads no more;
patience is drawn once: LEAST_PATIENCE days and a geometric number more. None of these numbers is fitted to any data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from karec._clock import DAY_MS
from karec.simulate.arm_log import BEFORE, NEVER
from karec.simulate.world.catalogue import Works, make_works
from karec.simulate.world.platform import BEFORE_DAYS
from karec.simulate.world.tastes import Truth
from karec.types import Array

POTENTIAL = 2.0
LEAST = 0.05
REMEMBERS = 3.0
LEAST_PATIENCE, MORE_PATIENCE = 3, 4.0  # days: the least, and the mean of those on top


@dataclass(frozen=True, eq=False)
class Potential:
    """Works that may be uploaded, common to all arms.

    ``day (W,)``: BEFORE, or the day of the upload; ``coin (W,)``; ``creator (W,)`` user rows; ``creators (C,)`` user
    rows, ascending; ``patience (C,)`` days; ``mean_seen``: works shown a day of a mean creator.
    """

    day: Array
    coin: Array
    creator: Array
    creators: Array
    patience: Array
    mean_seen: float

    def rows_of(self, user: Array) -> Array:
        """Rows of ``creators`` for user rows that upload."""
        return np.searchsorted(self.creators, user)


def draw_works(truth: Truth, world_days: int, days: int, seed: int) -> Works:
    """The truth's works, then the potential ones of ``days`` days, by upload; each day is drawn by itself."""
    n = round(POTENTIAL * len(truth.works) / (BEFORE_DAYS + world_days))
    parts = [truth.works]
    for day in range(days):
        begin, rng = truth.time_ms + day * DAY_MS, np.random.default_rng([seed, day])
        parts.append(make_works(n, truth.people, truth.songs, begin, begin + DAY_MS, rng))
    return Works(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(truth.works)})


def draw_potential(works: Works, creators: Array, first_ms: int, seen: float, rng: np.random.Generator) -> Potential:
    """Coins and patience; works uploaded before ``first_ms`` are there. ``seen``: works shown a day in all."""
    day = np.where(works.upload_ms < first_ms, BEFORE, (works.upload_ms - first_ms) // DAY_MS).astype(np.int32)
    creators = np.sort(creators)
    patience = LEAST_PATIENCE + rng.geometric(1.0 / MORE_PATIENCE, len(creators))
    return Potential(day, rng.random(len(works)), works.creator, creators, patience, seen / len(creators))


@dataclass(frozen=True, eq=False)
class Creators:
    """How creators stand in one arm: ``seen (C,)`` works a day, ``unseen (C,)`` days in a row, ``quit_day (C,)`` −1 for
    those who are there; ``upload_day (W,)`` as of ``ArmLog.work_upload_day``.
    """

    seen: Array
    unseen: Array
    quit_day: Array
    upload_day: Array

    @classmethod
    def at_start(cls, potential: Potential, share: Array) -> Self:
        """``share (C,)``: each creator's share of what was shown before; all of it is mean_seen · C."""
        n = len(potential.creators)
        upload_day = np.where(potential.day == BEFORE, BEFORE, NEVER).astype(np.int32)
        return cls(share * potential.mean_seen * n, np.zeros(n, np.int32), np.full(n, -1, np.int32), upload_day)

    def upload(self, potential: Potential, day: int) -> Creators:
        """The uploads of ``day``, by what was seen until it began."""
        works = np.flatnonzero(potential.day == day)
        creator = potential.rows_of(potential.creator[works])
        s = self.seen[creator] / potential.mean_seen
        realised = (potential.coin[works] < LEAST + (1.0 - LEAST) * s / (s + 1.0)) & (self.quit_day[creator] < 0)
        upload_day = self.upload_day.copy()
        upload_day[works[realised]] = day
        return replace(self, upload_day=upload_day)

    def look(self, potential: Potential, day: int, shown: Array) -> Creators:
        """After ``day``, on which works of the user rows ``shown (M,)`` were shown."""
        n = len(potential.creators)
        counts = np.bincount(potential.rows_of(shown), minlength=n)
        has_works = np.zeros(n, bool)
        has_works[potential.rows_of(potential.creator[self.upload_day < day])] = True
        unseen = np.where((counts > 0) | ~has_works, 0, self.unseen + 1).astype(np.int32)
        quits = (unseen >= potential.patience) & (self.quit_day < 0)
        seen = self.seen + (counts - self.seen) / REMEMBERS
        return replace(self, seen=seen, unseen=unseen, quit_day=np.where(quits, day, self.quit_day).astype(np.int32))
