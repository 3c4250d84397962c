"""Creators upload more if they have more impressions, and quit without impressions.

Potential uploads are drawn once for all arms: POTENTIAL times as many per day as were uploaded before, each
with a uniform number. One is realised if

    number < MIN_PROBABILITY + (1 − MIN_PROBABILITY) · s / (s + 1)      s = impressions / mean of all creators

Impressions are a running mean per day over MEMORY_DAYS. So a creator with the mean number uploads as often as
before, and twice the number gives a third more uploads: a concave response, which by itself rewards equal
exposure. A creator whose works had no impression on ``patience`` days in a row quits and uploads no more. The
patience is drawn once: MIN_PATIENCE days plus a geometric number. The constants are chosen, not
fitted to data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.arm_log import BEFORE, NEVER
from karec.lab.simulate.world.catalogue import Works, make_works
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


def draw_works(truth: Truth, world_days: int, days: int, seed: int) -> Works:
    """Returns the works of ``truth``, then the potential works of ``days``, by upload time.

    Each day has its own random generator.
    """
    n = round(POTENTIAL * len(truth.works) / (BEFORE_DAYS + world_days))
    parts = [truth.works]
    for day in range(days):
        begin, rng = truth.time_ms + day * DAY_MS, np.random.default_rng([seed, day])
        parts.append(make_works(n, truth.people, truth.songs, begin, begin + DAY_MS, rng))
    return Works(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def draw_potential(
    works: Works,
    creators: NDArray[Any],
    first_ms: int,
    daily_impressions: float,
    rng: np.random.Generator,
) -> Potential:
    """Draws uniform numbers and patience.

    Works uploaded before ``first_ms`` exist. ``daily_impressions``: of all works, before the days.
    """
    day = np.where(works.upload_ms < first_ms, BEFORE, (works.upload_ms - first_ms) // DAY_MS).astype(
        np.int32
    )
    patience = MIN_PATIENCE + rng.geometric(1.0 / MEAN_EXTRA_PATIENCE, len(creators))
    coin = rng.random(len(works))
    mean_impressions = daily_impressions / len(creators)
    return Potential(day, coin, works.creator, np.sort(creators), patience, mean_impressions)


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
