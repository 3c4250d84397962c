"""Whether a user comes back, and how long a session lasts, by what the user got lately.

Every user has potential sessions, drawn once and common to all arms, each with a coin; a session is realised
when

    coin < chance = clip(NEUTRAL · (level / start)^POWER, LEAST, MOST)

``level`` is the running mean of enjoyment: each work shown moves it by (e − level) / MEMORY, where e is the
expected long view of this user and work, satiation included. ``start`` is the user's own: the same mean over
what was shown before the days began, drawn to everybody's mean by PRIOR works. So a user who gets what he got
comes to half of his potential sessions, one who gets four times as much to all but a few. After each page the
next one is asked for by the same rule, with MORE in place of NEUTRAL, up to MOST_PAGES. These numbers are set
by hand, not fitted to any data.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.world.people import People
from karec.lab.simulate.world.policy import HOURS
from karec.lab.simulate.world.sampling import weighted_rows
from karec.times import DAY_MS, HOUR_MS

NEUTRAL, MORE, POWER = 0.5, 0.6, 0.5
LEAST, MOST = 0.05, 0.95
MEMORY, PRIOR = 30.0, 20.0
POTENTIAL = 0.6  # potential sessions of a mean user a day
MOST_A_DAY = 4.0  # of the most active ones
MOST_PAGES = 5
PAGE_MS = 480_000  # from one page of a session to the next


@dataclass(frozen=True, eq=False)
class Visits:
    """N potential sessions in order of day, user, time.

    ``day, user (N,)``; ``start_ms (N,)``; ``coin (N,)``: whether it is realised; ``more (N, MOST_PAGES −
    1)``: coins of the next pages.
    """

    day: NDArray[Any]
    user: NDArray[Any]
    start_ms: NDArray[Any]
    coin: NDArray[Any]
    more: NDArray[Any]

    def of_day(self, day: int) -> slice:
        begin, end = np.searchsorted(self.day, [day, day + 1])
        return slice(int(begin), int(end))

    def of_users(self, comers: NDArray[Any]) -> Visits:
        """Those of the users of ``comers (U,)`` bool."""
        kept = comers[self.user]
        return Visits(**{each.name: getattr(self, each.name)[kept] for each in fields(self)})


def rates(people: People) -> NDArray[Any]:
    """(U,) float64 potential sessions a day of each user."""
    return np.asarray(np.minimum(POTENTIAL * people.activity / people.activity.mean(), MOST_A_DAY))


def draw_visits(people: People, days: int, first_ms: int, seed: int) -> Visits:
    """Poisson counts by activity, hours as in the weeks before; sessions of a user do not overlap, nor pass
    midnight.

    Who has two potential sessions nearer than MOST_PAGES pages keeps the first of them. Each day is drawn by
    itself, so that the first days of more days are the same.
    """
    parts = [_of_day(rates(people), day, first_ms, np.random.default_rng([seed, day])) for day in range(days)]
    return Visits(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _of_day(
    rate: NDArray[Any], day: int, first_ms: int, rng: np.random.Generator
) -> tuple[NDArray[Any], ...]:
    user = np.repeat(np.arange(len(rate)), rng.poisson(rate))
    hour = weighted_rows(np.array(HOURS, float), len(user), rng)
    within = np.minimum(hour * HOUR_MS + rng.integers(0, HOUR_MS, len(user)), DAY_MS - MOST_PAGES * PAGE_MS)
    coin, more = rng.random(len(user)), rng.random((len(user), MOST_PAGES - 1))
    start = first_ms + day * DAY_MS + within
    order = np.lexsort((start, user))
    near = np.zeros(len(user), bool)
    near[1:] = (np.diff(user[order]) == 0) & (np.diff(start[order]) < MOST_PAGES * PAGE_MS)
    order = order[~near]
    return np.full(len(order), day), user[order], start[order], coin[order], more[order]


def starting_levels(user: NDArray[Any], enjoyment: NDArray[Any], n_users: int) -> NDArray[Any]:
    """(U,) float64 > 0, from M works shown before: ``user`` rows and what each was expected to give."""
    mean = float(enjoyment.mean(dtype=np.float64))
    total = np.bincount(user, weights=enjoyment, minlength=n_users)
    return np.asarray((total + PRIOR * mean) / (np.bincount(user, minlength=n_users) + PRIOR))


def chance(level: float, start: float, neutral: float = NEUTRAL) -> float:
    """The chance of a potential session (of a next page: ``neutral`` MORE)."""
    return float(min(max(neutral * (level / start) ** POWER, LEAST), MOST))


def moved(level: float, enjoyment: NDArray[Any]) -> float:
    """``level`` after works of that ``enjoyment (N,)``, in their order."""
    for each in enjoyment.tolist():
        level += (each - level) / MEMORY
    return level
