"""Creators upload more if they have more impressions, and quit without impressions.

Potential uploads are drawn once for all arms: POTENTIAL times as many per day as were uploaded before, each
with a uniform number. One is realised if

    number < MIN_PROBABILITY + (1 − MIN_PROBABILITY) · s / (s + 1)      s = impressions / mean of all creators

Impressions are a running mean per day over MEMORY_DAYS. So a creator with the mean number uploads as often as
before, and twice the number gives a third more uploads: a concave response, which by itself rewards equal
exposure. A creator whose works had no impression on ``patience`` days in a row quits and uploads no more. The
patience is drawn once: MIN_PATIENCE days plus a geometric number. The constants are chosen, not
fitted to data.

``n_new_creators``: number of users without works who upload for the first time on each day, in every arm.
Afterwards they have as many potential uploads as a mean creator, realised by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.arm_log import BEFORE, NEVER
from karec.lab.simulate.world.catalogue import Works, make_works, make_works_of_creators
from karec.lab.simulate.world.people import People
from karec.lab.simulate.world.platform import BEFORE_DAYS
from karec.lab.simulate.world.tastes import Truth
from karec.times import DAY_MS

POTENTIAL = 2.0
MIN_PROBABILITY = 0.05
MEMORY_DAYS = 3.0
MIN_PATIENCE = 3  # days
MEAN_EXTRA_PATIENCE = 4.0  # days, added to the minimum


@dataclass(frozen=True, eq=False)
class Potential:
    """Works that may be uploaded, the same in all arms.

    ``day`` (W,): BEFORE, or the day of the upload; ``coin`` (W,) uniform numbers; ``creator`` (W,) user rows;
    ``creators`` (C,) user rows, ascending; ``patience`` (C,) days. ``mean_daily_impressions``: impressions of
    a mean creator per day, before the days.
    """

    day: NDArray[Any]
    coin: NDArray[Any]
    creator: NDArray[Any]
    creators: NDArray[Any]
    patience: NDArray[Any]
    mean_daily_impressions: float

    def find_rows(self, user: NDArray[Any]) -> NDArray[Any]:
        """Returns rows of ``creators`` for user rows that upload."""
        return np.searchsorted(self.creators, user)


def draw_debutants(people: People, n_new_creators: int, days: int, seed: int) -> NDArray[Any]:
    """Returns (days, n_new_creators) user rows of first-time uploaders.

    Raises ValueError if there are too few users.
    """
    candidates = np.setdiff1d(np.flatnonzero(~people.newcomers), people.creators)
    if n_new_creators * days > len(candidates):
        raise ValueError(
            f"new_creators_per_day = {n_new_creators} on {days} days, expected at most "
            f"{len(candidates)} users in all: the others have works or joined recently"
        )
    return (
        np.random.default_rng(seed)
        .permutation(candidates)[: n_new_creators * days]
        .reshape(days, n_new_creators)
    )


def draw_works(truth: Truth, world_days: int, debutants: NDArray[Any], seed: int) -> Works:
    """Returns the works of ``truth``, then the potential works of each day of ``debutants``, by upload time.

    Each day has its own random generator.
    """
    n = round(POTENTIAL * len(truth.works) / (BEFORE_DAYS + world_days))
    parts = [truth.works]
    for day in range(len(debutants)):
        begin, rng = truth.time_ms + day * DAY_MS, np.random.default_rng([seed, day])
        works = make_works(n, truth.people, truth.songs, begin, begin + DAY_MS, rng)
        debutant_works = _draw_debutant_works(
            truth, debutants[: day + 1], n, begin, np.random.default_rng([seed, day, 1])
        )
        all_works = _concatenate([works, debutant_works])
        order = np.argsort(all_works.upload_ms, kind="stable")
        parts.append(Works(**{name: column[order] for name, column in vars(all_works).items()}))
    return _concatenate(parts)


def _draw_debutant_works(
    truth: Truth, debutants: NDArray[Any], n: int, begin: int, rng: np.random.Generator
) -> Works:
    """Draws works of debutants at a time when all other creators have ``n``.

    There is one of each in the last row of ``debutants``, and of earlier debutants as many as of a mean
    creator.
    """
    users, n_new = debutants.ravel(), debutants.shape[1]
    n_works = rng.poisson(n / len(truth.people.creators), len(users) - n_new)
    rank = np.concatenate(
        [np.repeat(np.arange(len(users) - n_new), n_works), np.arange(len(users) - n_new, len(users))]
    )
    people = replace(truth.people, creators=users, fame=np.full(len(users), 1.0 / max(len(users), 1)))
    return make_works_of_creators(rng.permutation(rank), people, truth.songs, begin, begin + DAY_MS, rng)


def _concatenate(parts: Sequence[Works]) -> Works:
    return Works(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def draw_potential(
    works: Works,
    creators: NDArray[Any],
    debutants: NDArray[Any],
    first_ms: int,
    daily_impressions: float,
    rng: np.random.Generator,
) -> Potential:
    """Draws uniform numbers and patience.

    Works uploaded before ``first_ms`` exist, and the first work of each of ``debutants`` is always uploaded.
    ``daily_impressions``: of all works, before the days.
    """
    day = np.where(works.upload_ms < first_ms, BEFORE, (works.upload_ms - first_ms) // DAY_MS).astype(
        np.int32
    )
    old, new = np.sort(creators), debutants.ravel()
    patience = MIN_PATIENCE + rng.geometric(1.0 / MEAN_EXTRA_PATIENCE, len(old))
    coin = rng.random(len(works))
    uploaders, first_rows = np.unique(works.creator, return_index=True)
    coin[first_rows[np.isin(uploaders, new)]] = 0.0
    new_patience = MIN_PATIENCE + rng.spawn(1)[0].geometric(1.0 / MEAN_EXTRA_PATIENCE, len(new))
    order = np.argsort(np.concatenate([old, new]))
    creators, patience = np.concatenate([old, new])[order], np.concatenate([patience, new_patience])[order]
    return Potential(day, coin, works.creator, creators, patience, daily_impressions / len(old))


@dataclass(frozen=True, eq=False)
class Creators:
    """State of the creators in one arm.

    ``daily_impressions`` (C,): running mean; ``unseen_days`` (C,): days in a row without impressions;
    ``quit_day`` (C,): −1 for active creators; ``upload_day`` (W,): as ``ArmLog.work_upload_day``.
    """

    daily_impressions: NDArray[Any]
    unseen_days: NDArray[Any]
    quit_day: NDArray[Any]
    upload_day: NDArray[Any]

    @classmethod
    def from_potential(cls, potential: Potential, daily_impressions: NDArray[Any]) -> Self:
        """Returns the state before the first day; ``daily_impressions`` (C,): before it."""
        n = len(potential.creators)
        upload_day = np.where(potential.day == BEFORE, BEFORE, NEVER).astype(np.int32)
        return cls(daily_impressions, np.zeros(n, np.int32), np.full(n, -1, np.int32), upload_day)

    def upload(self, potential: Potential, day: int) -> Creators:
        """Returns the state after the uploads of ``day``, which depend on the impressions before it."""
        works = np.flatnonzero(potential.day == day)
        creator = potential.find_rows(potential.creator[works])
        s = self.daily_impressions[creator] / potential.mean_daily_impressions
        is_realised = (potential.coin[works] < MIN_PROBABILITY + (1.0 - MIN_PROBABILITY) * s / (s + 1.0)) & (
            self.quit_day[creator] < 0
        )
        upload_day = self.upload_day.copy()
        upload_day[works[is_realised]] = day
        return replace(self, upload_day=upload_day)

    def after_day(self, potential: Potential, day: int, creator: NDArray[Any]) -> Creators:
        """Returns the state after ``day``; ``creator`` (M,): user row of the creator, one per impression."""
        n = len(potential.creators)
        counts = np.bincount(potential.find_rows(creator), minlength=n)
        has_works = np.zeros(n, bool)
        has_works[potential.find_rows(potential.creator[self.upload_day < day])] = True
        unseen_days = np.where((counts > 0) | ~has_works, 0, self.unseen_days + 1).astype(np.int32)
        is_quitting = (unseen_days >= potential.patience) & (self.quit_day < 0)
        return replace(
            self,
            daily_impressions=self.daily_impressions + (counts - self.daily_impressions) / MEMORY_DAYS,
            unseen_days=unseen_days,
            quit_day=np.where(is_quitting, day, self.quit_day).astype(np.int32),
        )
