"""Compares the arms of an interleaved experiment by the outcomes of the items that each arm placed."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from karec.aggregates.events import WORK, Events, Head
from karec.errors import DataError
from karec.logs.read import RankLog
from karec.samples.outcomes import find_logged_outcomes


@dataclass(frozen=True)
class Preference:
    """The share of outcomes that items of the second arm got; 0.5 if users prefer none of the arms.

    low, high  ends of the interval, in [0, 1]
    n_users    users with an item
    total      sum of the outcomes of both arms
    """

    share: float
    low: float
    high: float
    n_users: int
    total: float


def measure_label_preferences(
    log: RankLog, head: Head, events: Events, name: str, arms: tuple[str, str]
) -> dict[str, Preference]:
    """Returns {label: preference} on the pages of the interleaved experiment ``name``.

    Labels without a positive are left out. ``events`` are those of the store with ``head``. Impressions need
    the id of their request. Raises DataError if fewer than two users have a reported page of the experiment.
    """
    entry = f"{name}=interleaved"
    is_interleaved = np.array([entry in arms_text.split(";") for arms_text in log.arms.tolist()], bool)
    log = log.take(is_interleaved & (log.team != "") & (log.item_type == WORK))
    bits, is_reported = find_logged_outcomes(log, events, WORK)
    log, bits = log.take(is_reported), bits[is_reported]
    if len(np.unique(log.user_id)) < 2:
        raise DataError(
            f"the log has no two users with reported pages of {name!r}, expected pages with {entry!r} in "
            "arms. Report impressions with request_id."
        )
    outcomes = {label: bits >> np.uint64(bit) & np.uint64(1) for bit, label in enumerate(head.labels)}
    return {
        label: measure_preference(log.user_id, log.team, outcome, arms)
        for label, outcome in outcomes.items()
        if outcome.any()
    }


def measure_preference(
    user_id: ArrayLike,
    team: ArrayLike,
    outcome: ArrayLike,
    arms: tuple[str, str],
) -> Preference:
    """Returns the second arm's share of the outcomes, with a 95 % interval for independent users.

    The share is S = Σ b / Σ (a + b), for outcomes a and b of each user on items of the first and second arm.
    Its variance is that of the mean of b − S · (a + b), divided by the squared mean of a + b (delta method).
    It measures which arm users prefer if they see both. It does not measure how a metric of whole pages
    changes. If page rules let one arm place more items, its share is larger. If one arm has all
    outcomes, the interval is [0, 1]. Cost: O(N log N).

    Args:
        user_id: (N,) unit of each item.
        team: (N,) the arm that placed the item, as in the rank log; items of other pages have "" and are
            left out.
        outcome: (N,) at least 0: a click, a like, seconds of play.
        arms: names of the first and second arm.
    Raises:
        ValueError: lengths differ, a team is unknown, an outcome is below 0 or not finite, fewer than two
            users have items, or all outcomes are 0.
    """
    users, teams, outcomes = np.asarray(user_id), np.asarray(team), np.asarray(outcome, np.float64)
    if not users.shape == teams.shape == outcomes.shape or users.ndim != 1:
        raise ValueError(
            f"user_id, team and outcome have shapes {users.shape}, {teams.shape} and {outcomes.shape}, "
            "expected one length (N,)"
        )
    is_drafted = teams != ""
    users, teams, outcomes = users[is_drafted], teams[is_drafted], outcomes[is_drafted]
    unknown = sorted({*teams.tolist()} - {*arms})
    if unknown:
        raise ValueError(f"team has {unknown[0]!r}, expected one of {arms}")
    if not (np.isfinite(outcomes) & (outcomes >= 0)).all():
        raise ValueError("an outcome is below 0 or not finite, expected numbers from 0 on")
    unit = np.unique(users, return_inverse=True)[1]
    n = int(unit.max()) + 1 if len(unit) else 0
    if n < 2:
        raise ValueError(f"{n} users have items of interleaved pages, expected at least 2")
    total = np.bincount(unit, outcomes, n)
    if not total.sum():
        raise ValueError("all outcomes are 0, expected at least one above 0. Wait for more events.")
    second = np.bincount(unit, np.where(teams == arms[1], outcomes, 0.0), n)
    share = float(second.sum() / total.sum())
    deviation = second - share * total
    error = sqrt(float(deviation @ deviation) * n / (n - 1)) / float(total.sum())
    half = NormalDist().inv_cdf(0.975) * error if 0 < share < 1 else 1.0
    return Preference(share, max(share - half, 0.0), min(share + half, 1.0), n, float(total.sum()))
