"""Measures the coverage of the intervals of off-policy estimates, on pages of a world with a known truth.

A fixed pool has users with R requests each. A request has n works of the world, true probabilities of click
and like, and logits of a ranker: the true logits plus noise. Users look at positions in order, and continue
after each with probability ``CONTINUE``. The truth of a policy is the mean over the pool of the probability
that its item is seen, times that of the label. A draw takes users of the pool with replacement,
random orders, and feedback. The estimates know neither the probabilities nor how far users look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.experiments.off_policy import METHODS, RandomPages, estimate_policy, mean_over_requests
from karec.lab.report import Table
from karec.lab.simulate.world import World
from karec.models.fusion import ObjectiveWeights
from karec.times import Progress

LABELS = ("click", "like")
LOGGED = ObjectiveWeights({"click": 1.0})
TARGET = ObjectiveWeights({"click": 1.0, "like": 8.0})
CONTINUE = 0.85
NOISE = 0.7  # standard deviation of the ranker's error, of a logit


@dataclass(frozen=True, eq=False)
class Pool:
    """U users with R requests of n candidates.

    probabilities  (U, R, n, 2) float64, of LABELS if the item is seen
    logits         (U, R, n, 2) float32
    """

    probabilities: NDArray[Any]
    logits: NDArray[Any]

    @classmethod
    def from_world(cls, world: World, n_requests: int, n: int, seed: int) -> Pool:
        rng = np.random.default_rng(seed)
        n_users = len(world.dataset.snapshot.users)
        users = np.repeat(np.arange(n_users), n_requests * n)
        works = rng.integers(0, len(world.dataset.snapshot.works), len(users))
        truth = world.truth.probabilities(users, works)
        p = np.stack([truth[label] for label in LABELS], axis=1).astype(np.float64).clip(1e-9, 1 - 1e-9)
        logits = np.log(p / (1 - p)) + NOISE * rng.normal(size=p.shape)
        shape = (n_users, n_requests, n, len(LABELS))
        return cls(p.reshape(shape), logits.astype(np.float32).reshape(shape))

    def fuse(self, weights: ObjectiveWeights) -> NDArray[Any]:
        """Returns (U, R, n) scores."""
        flat = self.logits.reshape(-1, len(LABELS))
        return weights(flat, LABELS).reshape(self.logits.shape[:3])

    def truth(self, weights: ObjectiveWeights, k: int) -> NDArray[Any]:
        """Returns (k + 1, L): mean outcome at each position, and of the page."""
        order = np.argsort(-self.fuse(weights), axis=2, kind="stable")[:, :, :k]
        chosen = np.take_along_axis(self.probabilities, order[..., None], axis=2)
        means = chosen.mean(axis=(0, 1)) * (CONTINUE ** np.arange(k))[:, None]
        return np.vstack([means, means.sum(axis=0)])

    def draw(self, n_users: int, k: int, rng: np.random.Generator) -> RandomPages:
        """Returns pages of ``n_users`` users of the pool, all their requests in random order."""
        users = rng.integers(0, len(self.logits), n_users)
        n_requests, n = self.logits.shape[1:3]
        p = self.probabilities[users].reshape(-1, n, len(LABELS))
        logits = self.logits[users].reshape(-1, len(LABELS))
        order = rng.permuted(np.tile(np.arange(n), (len(p), 1)), axis=1)[:, :k]
        is_seen = np.arange(k) < rng.geometric(1 - CONTINUE, len(p))[:, None]
        shown_p = np.take_along_axis(p, order[..., None], axis=1)
        outcomes = (is_seen[..., None] & (rng.random(shown_p.shape) < shown_p)).astype(np.float64)
        starts = np.arange(len(p) + 1) * n
        fused = LOGGED(logits, LABELS)
        user_id = np.repeat(np.arange(n_users), n_requests)  # a user who is drawn twice is two users
        return RandomPages(
            user_id, starts, logits, LABELS, fused, starts[:-1, None] + order, outcomes, LABELS
        )


def measure_coverage(
    world: World,
    *,
    draws: int,
    users: int,
    requests: int = 4,
    n: int = 20,
    k: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Returns for each method and label the fraction of 95 % intervals that contain the truth.

    Keys of ``rows``: method, label, ``truth``, ``bias`` (mean error in standard errors of this mean),
    ``page`` and ``gain`` (coverage for the page, and for its difference to the page of the logged score),
    ``positions`` (coverage for each), ``width`` (mean half interval of the page, by the truth). Coverage is
    None, and a position left out, if most draws have no interval.
    """
    pool = Pool.from_world(world, requests, n, seed)
    truth, logged = pool.truth(TARGET, k), pool.truth(LOGGED, k)
    rng = np.random.default_rng(seed + 1)
    errors = np.empty((draws, len(METHODS), 2, k + 1, len(LABELS)))  # of the target, and of its gain
    halves = np.empty_like(errors)
    for draw in range(draws):
        if progress is not None:
            progress(draw, draws, "draws")
        pages = pool.draw(users, k, rng)
        target = estimate_policy(pages, TARGET(pages.logits, LABELS))
        base = estimate_policy(pages, pages.fused)
        n_positives = np.minimum(target.n_positives, base.n_positives)
        for i, method in enumerate(METHODS):
            value = target.values[method]
            for j, (values, true) in enumerate(
                ((value, truth), (value - base.values[method], truth - logged))
            ):
                estimates = mean_over_requests(pages, values, n_positives)
                errors[draw, i, j] = estimates.value - true
                halves[draw, i, j] = estimates.high - estimates.value
    rows = [
        _row(method, label, errors[:, i, :, :, c], halves[:, i, :, :, c], truth[k, c])
        for i, method in enumerate(METHODS)
        for c, label in enumerate(LABELS)
    ]
    gain = dict(zip(LABELS, (truth[k] / logged[k] - 1).tolist(), strict=True))
    return {"draws": draws, "users": users, "requests": users * requests, "n": n, "gain": gain, "rows": rows}


def _row(method: str, label: str, errors: NDArray[Any], halves: NDArray[Any], truth: float) -> dict[str, Any]:
    """``errors`` and ``halves`` (draws, 2, K + 1)."""
    is_known = np.isfinite(halves)
    coverage = (np.abs(errors) <= halves).sum(axis=0) / np.maximum(is_known.sum(axis=0), 1)
    coverage[is_known.mean(axis=0) < 0.5] = np.nan
    page_error, positions = errors[:, 0, -1], coverage[0, :-1]
    return {
        "method": method,
        "label": label,
        "truth": float(truth),
        "bias": float(page_error.mean() / (page_error.std() / np.sqrt(len(page_error)))),
        "page": _finite(coverage[0, -1]),
        "gain": _finite(coverage[1, -1]),
        "positions": positions[np.isfinite(positions)].tolist(),
        "width": _finite(halves[:, 0, -1].mean() / truth),
    }


def coverage_table(report: Mapping[str, Any]) -> Table:
    """Returns the report of ``measure_coverage`` as a table."""
    gains = ", ".join(f"{label} {gain:+.1%}" for label, gain in report["gain"].items())
    rows = [
        (
            f"{row['method']}, {row['label']}",
            f"{row['truth']:.4f}",
            f"{row['bias']:+.1f}",
            _percent(row["page"]),
            _percent(row["gain"]),
            f"{len(row['positions'])}",
            _percent(np.mean(row["positions"]) if row["positions"] else None),
            _percent(min(row["positions"], default=None)),
            _percent(row["width"]),
        )
        for row in report["rows"]
    ]
    head = ("estimate", "truth", "bias", "page", "gain", "positions", "mean", "least", "half interval")
    title = (
        f"Intervals of 95 % that contain the truth: {report['draws']:,} logs of {report['requests']:,} "
        f"requests by {report['users']:,} users, {report['n']} candidates in random order"
    )
    note = f"True gain of the page: {gains}. Bias in standard errors; half interval by the truth."
    return Table(title, head, rows, note)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
