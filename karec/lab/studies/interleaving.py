"""Compares the users that an interleaved experiment and an A/B test of the same pipelines need.

Each user gets three pages at the same time: a page of each arm, and an interleaved page. The truth of the
demo's world gives the probability p of an outcome of each item, so mean and variance need no draws:

    A/B test      Y = outcomes of a page; mean and variance over users of Σ p, plus the mean of Σ p (1 − p)
    interleaving  D = outcomes of the second arm's items minus those of the first one's; the same formula

A two-sided test of size α with power 1 − β needs (z_α + z_β)² σ² / μ² users: for D its mean and variance, for
the A/B test, which has half of its users in each arm, 4 times the mean variance of Y and the difference of
the means. Their ratio is the factor of users saved, with an interval by resampled users. As a check,
experiments of this size are drawn and analysed by ``measure_preference``, and A/B tests by a z test.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.config.arms import build_scenes, load_experiments
from karec.config.assemble import open_bundle
from karec.config.scenes import Config
from karec.experiments.interleaving import measure_preference
from karec.experiments.settings import INTERLEAVED
from karec.lab.report import Table
from karec.lab.simulate.world import World
from karec.lab.simulate.world.tastes import SCENES
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Page, Request
from karec.times import Progress

SCENE = "home"
OUTCOMES = ("long_view", "like")
ARMS = ("control", "other")
PATCHES = {
    "clicks only in fusion": '"scenes.home.rank.fusion.weights" = { click = 1.0 }',
    "more freshness": '"scenes.home.rerank.freshness.weight" = 0.3',
    "less diversity": '"scenes.home.rerank.dpp.diversity" = 0.1',
}
SETTINGS = """
[layers.pages]
salt = "interleaving"
paths = ["scenes.home.rank", "scenes.home.rerank", "scenes.home.limits"]

[experiments.pages]
layer = "pages"
start = 2000-01-01T00:00:00Z
end = 2100-01-01T00:00:00Z
interleave = true
arms.control.weight = 0.5
arms.other = {{ weight = 0.5, patches = {{ {patch} }} }}
"""
Z = NormalDist().inv_cdf(0.975)  # α = 0.05, two-sided
Z_POWER = NormalDist().inv_cdf(0.8)
N_DRAWN, N_RESAMPLED = 400, 1_000
MAX_DRAWN_USERS = 50_000  # of one drawn experiment

Float = NDArray[np.float64]


@dataclass(frozen=True)
class UserPages:
    """Probabilities of one outcome for the items of N users' pages, (N, k), 0 behind the end of a page.

    first, second  pages of one arm
    both           interleaved pages
    is_second      (N, k) bool, items of the second team on the interleaved pages
    """

    first: Float
    second: Float
    both: Float
    is_second: NDArray[np.bool_]

    def take(self, rows: NDArray[Any]) -> UserPages:
        return UserPages(self.first[rows], self.second[rows], self.both[rows], self.is_second[rows])

    def users_needed(self) -> tuple[float, float]:
        """Returns the users of an A/B test and of an interleaved experiment with 80 % power."""
        signs = np.where(self.is_second, 1.0, -1.0)
        difference = float(self.second.sum(1).mean() - self.first.sum(1).mean())
        variance = (_variance(self.first, 1.0) + _variance(self.second, 1.0)) / 2
        preference = float((signs * self.both).sum(1).mean())
        scale = (Z + Z_POWER) ** 2
        return 4 * scale * variance / difference**2, scale * _variance(self.both, signs) / preference**2


def study_interleaving(
    world: World, config_path: Path, *, n_users: int, k: int, seed: int, progress: Progress
) -> Iterator[tuple[str, str, UserPages]]:
    """Yields (patch, outcome, pages) for PATCHES and OUTCOMES.

    ``config_path``: of ``karec demo`` on ``world``.
    """
    config = Config.read(config_path)
    bundle = open_bundle(config_path)
    users = np.random.default_rng(seed).permutation(world.dataset.snapshot.users.ids)[:n_users].tolist()
    for name, patch in PATCHES.items():
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(SETTINGS.format(patch=patch))
            file.flush()
            arms_config = Config.from_table(config_path, {**config.table, "experiments": file.name})
            cascade = build_scenes(arms_config, [SCENE], load_experiments(arms_config), bundle)[SCENE]
        pages = []
        for done, user in enumerate(users):
            if done % 50 == 0:
                progress(done, len(users), name)
            pages.append(_pages(cascade.without_side_effects(), user, k, seed))
        for outcome in OUTCOMES:
            columns = zip(*pages, strict=True)
            first, second, both = (_probabilities(world, column, k, outcome) for column in columns)
            is_second = np.array(
                [_pad([team == ARMS[1] for team in page.teams], k) for _, _, page in pages], bool
            )
            yield name, outcome, UserPages(first, second, both, is_second)


def _pages(cascade: Cascade, user: int, k: int, seed: int) -> list[Page]:
    request_id = f"{seed}-{user}"
    arms = (*ARMS, INTERLEAVED)
    return [cascade.run(Request(user, k, SCENE, request_id=request_id, arms={"pages": arm})) for arm in arms]


def _probabilities(world: World, pages: Sequence[Page], k: int, outcome: str) -> Float:
    snapshot = world.dataset.snapshot
    rows = []
    for page in pages:
        works = snapshot.works.lookup(page.candidates.ids)
        user = np.repeat(snapshot.users.lookup(np.array([page.request.user_number])), len(works))
        moment, scene = np.full(len(works), page.request.time_ms), np.full(len(works), SCENES.index(SCENE))
        rows.append(_pad(world.outcomes([outcome], user, works, moment, scene)[:, 0].tolist(), k))
    return np.array(rows, np.float64)


def _pad(values: Sequence[float], k: int) -> list[float]:
    return [*values, *[0.0] * (k - len(values))]


def _variance(p: Float, signs: Float | float) -> float:
    """Returns the variance of a user's sum of outcomes with these probabilities and signs."""
    return float((signs * p).sum(1).var(ddof=1) + (p * (1 - p)).sum(1).mean())


def compare(pages: UserPages, seed: int) -> Mapping[str, float]:
    """Returns effects, users needed, their ratio with its interval, and the power of drawn experiments."""
    rng = np.random.default_rng(seed)
    n = len(pages.first)
    ab_users, interleaved_users = pages.users_needed()
    ratios = []
    for _ in range(N_RESAMPLED):
        resampled_ab, resampled = pages.take(rng.integers(0, n, n)).users_needed()
        ratios.append(resampled_ab / resampled)
    low, high = np.quantile(ratios, [0.025, 0.975])
    first, second = pages.first.sum(), pages.second.sum()
    return {
        "effect": float(second / first - 1),
        "share": float((pages.both * pages.is_second).sum() / pages.both.sum()),
        "ab_users": ab_users,
        "interleaved_users": interleaved_users,
        "factor": ab_users / interleaved_users,
        "low": float(low),
        "high": float(high),
        "ab_power": _power(pages, int(np.ceil(ab_users)), _ab_test, rng),
        "interleaved_power": _power(pages, int(np.ceil(interleaved_users)), _interleaved_test, rng),
    }


def _power(pages: UserPages, n_users: int, test: Any, rng: np.random.Generator) -> float:
    """Returns the fraction of drawn experiments that find an effect; NaN if they need too many users."""
    if n_users > MAX_DRAWN_USERS:
        return float("nan")
    rows = (rng.integers(0, len(pages.first), n_users) for _ in range(N_DRAWN))
    return float(np.mean([test(pages.take(row), rng) for row in rows]))


def _ab_test(pages: UserPages, rng: np.random.Generator) -> bool:
    half = len(pages.first) // 2
    first, second = ((rng.random(p.shape) < p).sum(1) for p in (pages.first[:half], pages.second[half:]))
    error = np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    return bool(abs(second.mean() - first.mean()) > Z * error)


def _interleaved_test(pages: UserPages, rng: np.random.Generator) -> bool:
    n, k = pages.both.shape
    outcomes = rng.random((n, k)) < pages.both
    if not outcomes.any():
        return False
    teams = np.where(pages.is_second, ARMS[1], ARMS[0])
    result = measure_preference(np.repeat(np.arange(n), k), teams.ravel(), outcomes.ravel(), ARMS)
    return not result.low <= 0.5 <= result.high


def interleaving_table(results: Sequence[tuple[str, str, Mapping[str, float]]], n_users: int) -> Table:
    users = ("A/B users", "power", "interleaved users", "power")
    head = ("patch of the second arm", "outcome", "effect", "share", *users, "factor", "95 % interval")
    rows = [
        (
            patch,
            outcome,
            f"{result['effect']:+.1%}",
            f"{result['share']:.3f}",
            f"{result['ab_users']:,.0f}",
            f"{result['ab_power']:.2f}",
            f"{result['interleaved_users']:,.0f}",
            f"{result['interleaved_power']:.2f}",
            f"{result['factor']:.1f}",
            f"{result['low']:.1f} to {result['high']:.1f}",
        )
        for patch, outcome, result in results
    ]
    return Table(f"Users for 80 % power at α = 0.05, one page each; moments of {n_users:,} users", head, rows)
