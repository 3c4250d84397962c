"""Measures the bias of an experiment whose two arms learn every night from their own or from all logs.

Each user gets a page a day from random candidates. The arm `greedy` orders them by the rate of clicks that it
has learned for each work, the arm `exploring` by a draw from the posterior of this rate (Thompson sampling).
Rates are learned again every night from the rows that ``ArmRows`` selects, as in `karec train`. The rates
are unknown at first. Exploration loses clicks and finds good works. With pooled learning the other arm learns
of these works without the loss.

truth     exploring minus greedy, when all users have one arm: two platforms with separate logs
estimate  exploring minus greedy of an experiment with half of the users in each arm. Each is played a
          second time with the arms exchanged, so that differences between the users cancel
bias      estimate minus truth

Outcomes are the true probabilities of a click. All platforms of a world draw with the same random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from karec.lab.report import Table
from karec.lab.simulate.world import make_world
from karec.samples.arms import ArmRows
from karec.times import Progress

ARMS = ("greedy", "exploring")
EXPERIMENT = "exploration"
OTHER_ARMS = (0.0, 0.5, 1.0)  # own-arm learning, rows of the other arm at half weight, pooled learning
PRIOR_SHOWS = 10.0
K = 10  # works of a page


@dataclass(frozen=True, eq=False)
class Platform:
    """True probabilities of a click (U, W), and the works among which each page chooses.

    candidates  (days, U, N) work rows
    coins       (days, U, N) uniform numbers of the feedback
    seed        of the draws of the exploring arm
    """

    probabilities: NDArray[Any]
    candidates: NDArray[Any]
    coins: NDArray[Any]
    seed: int

    @classmethod
    def from_world(cls, works: int, users: int, days: int, n_candidates: int, seed: int) -> Platform:
        world = make_world(works, users, 20 * users, seed=seed)
        user_rows = np.repeat(np.arange(users), works)
        clicks = world.truth.probabilities(user_rows, np.tile(np.arange(works), users))["click"]
        rng = np.random.default_rng(seed)
        shape = days, users, n_candidates
        candidates = rng.integers(0, works, shape)
        return cls(clicks.reshape(users, works), candidates, rng.random(shape), seed)


def play(platform: Platform, is_exploring: NDArray[np.bool_], other_arms: float) -> NDArray[Any]:
    """Returns (days, U): expected clicks on the page of each user. Arms learn after each day.

    Args:
        is_exploring: (U,) arm of each user.
        other_arms: fraction of the requests of the other arm from which an arm learns.
    """
    n_works = platform.probabilities.shape[1]
    days, n_users, _ = platform.candidates.shape
    users = np.arange(n_users)[:, None]
    arms = np.where(is_exploring, *(f"{EXPERIMENT}={arm}" for arm in ARMS[::-1])).astype(object)
    counts = np.zeros((2, 2, n_works))  # by arm: impressions and clicks of its training rows
    outcomes = np.empty((days, n_users))
    for day in range(days):
        rng = np.random.default_rng([platform.seed, day])
        works = platform.candidates[day]
        scores = np.where(
            is_exploring[:, None],
            _posterior(counts[1], works, rng),
            _posterior(counts[0], works, None),
        )
        order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        shown = np.take_along_axis(works, order, axis=1)
        p = platform.probabilities[users, shown]
        is_clicked = np.take_along_axis(platform.coins[day], order, axis=1) < p
        outcomes[day] = p.sum(axis=1)
        requests = np.array([f"{platform.seed}-{day}-{user}" for user in range(n_users)], object)
        for number, arm in enumerate(ARMS):
            rows = ArmRows(EXPERIMENT, arm, other_arms).keep(arms, requests)
            counts[number, 0] += np.bincount(shown[rows].ravel(), minlength=n_works)
            counts[number, 1] += np.bincount(shown[rows].ravel(), is_clicked[rows].ravel(), n_works)
    return outcomes


def _posterior(counts: NDArray[Any], works: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
    """Returns the mean of the posterior of the rate of each of ``works``, or a draw from it."""
    shown, clicks = counts
    mean = (clicks.sum() + 1) / (shown.sum() + 2)
    alpha = clicks + PRIOR_SHOWS * mean
    beta = shown - clicks + PRIOR_SHOWS * (1 - mean)
    if rng is None:
        return np.asarray((alpha / (alpha + beta))[works])
    return np.asarray(rng.beta(alpha[works], beta[works]))


def measure_bias(
    *,
    worlds: int,
    users: int,
    works: int,
    days: int,
    candidates: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Returns the effect of exploring on the clicks of a user and day, by the truth and by experiments.

    Keys: ``greedy`` (clicks without exploring), ``truth``, and ``rows``: for each of OTHER_ARMS ``estimate``
    and ``bias``. A measure is {``value``, ``ci``}, a mean over worlds with its 95 % interval.
    """
    greedy, truth = np.empty(worlds), np.empty(worlds)
    estimates = np.empty((worlds, len(OTHER_ARMS)))
    for world in range(worlds):
        if progress is not None:
            progress(world, worlds, "worlds")
        platform = Platform.from_world(works, users, days, candidates, seed + world)
        no_user = np.zeros(users, bool)
        greedy[world] = play(platform, no_user, 0.0).mean()
        truth[world] = play(platform, ~no_user, 0.0).mean() - greedy[world]
        half = np.random.default_rng(seed + world).permutation(users) < users // 2
        for i, other_arms in enumerate(OTHER_ARMS):
            estimates[world, i] = np.mean(
                [_difference(platform, is_exploring, other_arms) for is_exploring in (half, ~half)]
            )
    return {
        "worlds": worlds,
        "users": users,
        "works": works,
        "days": days,
        "greedy": _measure(greedy),
        "truth": _measure(truth),
        "rows": [
            {
                "other_arms": other_arms,
                "estimate": _measure(estimates[:, i]),
                "bias": _measure(estimates[:, i] - truth),
            }
            for i, other_arms in enumerate(OTHER_ARMS)
        ],
    }


def _difference(platform: Platform, is_exploring: NDArray[np.bool_], other_arms: float) -> float:
    outcomes = play(platform, is_exploring, other_arms)
    return float(outcomes[:, is_exploring].mean() - outcomes[:, ~is_exploring].mean())


def _measure(values: NDArray[Any]) -> dict[str, Any]:
    mean, n = float(values.mean()), len(values)
    half = float(student.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5)
    return {"value": mean, "ci": [mean - half, mean + half]}


def bias_table(report: Mapping[str, Any]) -> Table:
    """Returns the report of ``measure_bias`` as a table."""
    names = {0.0: "own arm", 1.0: "pooled"}
    rows = [("platforms with one arm", _cell(report["truth"]), "")]
    rows += [
        (
            names.get(row["other_arms"], f"weight {row['other_arms']:g}"),
            _cell(row["estimate"]),
            _cell(row["bias"]),
        )
        for row in report["rows"]
    ]
    title = (
        f"Effect of exploring on the clicks of a user and day ({report['worlds']} worlds of "
        f"{report['users']:,} users, {report['works']:,} works and {report['days']} days, 95 % over worlds)"
    )
    note = f"Without exploring: {_cell(report['greedy'])} clicks."
    return Table(title, ("arms learn from", "effect", "bias"), rows, note)


def _cell(measure: Mapping[str, Any]) -> str:
    low, high = measure["ci"]
    return f"{measure['value']:+.3f} [{low:+.3f}, {high:+.3f}]"
