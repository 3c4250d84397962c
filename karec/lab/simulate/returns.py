"""Probability that a user comes back, and the length of a session, by the user's recent enjoyment.

Every user has potential sessions, drawn once for all arms, each with a uniform number. A session is realised
if

    number < clip(VISIT_PROBABILITY · (level / start)^(returns · EXPONENT), MIN_PROBABILITY, MAX_PROBABILITY)

``level`` is the running mean of the enjoyment: each shown work moves it by (e − level) / MEMORY_WORKS, where
e is the expected long view of this user and work with satiation. ``start`` is the mean of the user's
enjoyment before the days, shrunk to the mean of all users by PRIOR_WORKS works. So a user with the usual
enjoyment realises half of the potential sessions, one with four times as much nearly all. After each page the
next one is requested by the same rule with PAGE_PROBABILITY instead of VISIT_PROBABILITY, up to MAX_PAGES.
The constants are chosen, not fitted to data. ``returns``, of the arms file, scales the exponent: 0 makes
sessions independent of enjoyment.
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

VISIT_PROBABILITY, PAGE_PROBABILITY, EXPONENT = 0.5, 0.6, 0.5
MIN_PROBABILITY, MAX_PROBABILITY = 0.05, 0.95
MEMORY_WORKS, PRIOR_WORKS = 30.0, 20.0
MEAN_SESSIONS = 0.6  # potential sessions per day of a mean user
MAX_SESSIONS = 4.0  # potential sessions per day of any user
MAX_PAGES = 5
PAGE_MS = 480_000  # from one page of a session to the next


@dataclass(frozen=True, eq=False)
class Visits:
    """N potential sessions in the order day, user, time.

    ``day, user`` (N,); ``start_ms`` (N,); ``coin`` (N,): uniform number of the session; ``page_coins``
    (N, MAX_PAGES − 1): uniform numbers of the next pages.
    """

    day: NDArray[Any]
    user: NDArray[Any]
    start_ms: NDArray[Any]
    coin: NDArray[Any]
    page_coins: NDArray[Any]

    def day_rows(self, day: int) -> slice:
        begin, end = np.searchsorted(self.day, [day, day + 1])
        return slice(int(begin), int(end))

    def take_users(self, is_visitor: NDArray[Any]) -> Visits:
        """Returns the sessions of users with ``is_visitor`` (U,)."""
        is_kept = is_visitor[self.user]
        return Visits(**{column.name: getattr(self, column.name)[is_kept] for column in fields(self)})


def session_rates(people: People) -> NDArray[Any]:
    """Returns (U,) float64 potential sessions per day of each user."""
    return np.asarray(np.minimum(MEAN_SESSIONS * people.activity / people.activity.mean(), MAX_SESSIONS))


def draw_visits(people: People, days: int, first_ms: int, seed: int) -> Visits:
    """Draws Poisson counts by activity, at the hours of the weeks before.

    Sessions of a user neither overlap nor pass midnight. Of two potential sessions closer than MAX_PAGES
    pages, the first is kept. Each day has its own random generator, so that more days have equal first days.
    """
    parts = [
        _draw_day(session_rates(people), day, first_ms, np.random.default_rng([seed, day]))
        for day in range(days)
    ]
    return Visits(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _draw_day(
    rate: NDArray[Any], day: int, first_ms: int, rng: np.random.Generator
) -> tuple[NDArray[Any], ...]:
    user = np.repeat(np.arange(len(rate)), rng.poisson(rate))
    hour = weighted_rows(np.array(HOURS, float), len(user), rng)
    within = np.minimum(hour * HOUR_MS + rng.integers(0, HOUR_MS, len(user)), DAY_MS - MAX_PAGES * PAGE_MS)
    coin, page_coins = rng.random(len(user)), rng.random((len(user), MAX_PAGES - 1))
    start = first_ms + day * DAY_MS + within
    order = np.lexsort((start, user))
    is_too_close = np.zeros(len(user), bool)
    is_too_close[1:] = (np.diff(user[order]) == 0) & (np.diff(start[order]) < MAX_PAGES * PAGE_MS)
    order = order[~is_too_close]
    return np.full(len(order), day), user[order], start[order], coin[order], page_coins[order]


def starting_levels(user: NDArray[Any], enjoyment: NDArray[Any], n_users: int) -> NDArray[Any]:
    """Returns (U,) float64 > 0 from M works shown before: ``user`` rows and their expected enjoyment."""
    mean = float(enjoyment.mean(dtype=np.float64))
    total = np.bincount(user, weights=enjoyment, minlength=n_users)
    return np.asarray((total + PRIOR_WORKS * mean) / (np.bincount(user, minlength=n_users) + PRIOR_WORKS))


def visit_probability(
    level: float, start: float, base: float = VISIT_PROBABILITY, returns: float = 1.0
) -> float:
    """Returns the probability of a potential session; with ``base`` = PAGE_PROBABILITY of a next page."""
    probability = base * (level / start) ** (returns * EXPONENT)
    return float(min(max(probability, MIN_PROBABILITY), MAX_PROBABILITY))


def next_level(level: float, enjoyment: NDArray[Any]) -> float:
    """Returns ``level`` after works of ``enjoyment`` (N,), in their order."""
    for value in enjoyment.tolist():
        level += (value - level) / MEMORY_WORKS
    return level
