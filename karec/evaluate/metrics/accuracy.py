"""AUC, GAUC and calibration error of scores against labels, with bootstrap intervals over users.

Intervals resample users, not rows, because the rows of one user are correlated. A resample is a weight per
user: how often it was drawn. Measures are computed from sums with these weights, so rows are sorted once, and
two models measured with the same weights give a paired difference.

Sources  T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27 (2006): AUC as a rank
         statistic, ties count one half. G. Zhou et al., Deep interest network, KDD 2018: GAUC. C. Guo et al.,
         On calibration of modern neural networks, ICML 2017: ECE. B. Efron, Bootstrap methods, Annals of
         Statistics 7 (1979).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.times import DAY_MS

BINS = 15
LEVEL = 0.95  # of intervals


def auc(y: NDArray[Any], s: NDArray[Any], weights: NDArray[Any] | None = None) -> float:
    """Returns P(a positive scores above a negative), ties one half; NaN if a class has no weight. O(N log N).

    Args
      y         (N,) 0 or 1
      s         (N,) finite scores
      weights   (N,) of rows; None: 1

    Raises ValueError for wrong shapes or scores that are not finite.
    """
    y, s = _checked(y, s)
    order = np.argsort(s, kind="stable")
    w = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    return _auc_of_sorted(y[order], _tie_starts(s[order]), w[order])


def gauc(y: NDArray[Any], s: NDArray[Any], group: NDArray[Any]) -> float:
    """Returns the mean AUC within groups, weighted by rows; groups of one class are left out. NaN for none.

    ``group (N,)``: integers, for example of (user, day). O(N log N).
    """
    _, value, n = _group_aucs(y, s, group)
    return float(np.average(value, weights=n)) if len(n) else float("nan")


def ece(y: NDArray[Any], p: NDArray[Any]) -> float:
    """Returns the expected calibration error Σ_b |Σ_{i∈b} (y_i − p_i)| / N over BINS bins of ``p``. O(N)."""
    y, p = _checked(y, p)
    return float(np.abs(np.bincount(_bin(p), weights=y - p, minlength=BINS)).sum() / max(len(y), 1))


class UserBootstrap:
    """``resamples`` of users, the same for all measures and models. ``users (N,)``: the user of each row."""

    def __init__(self, users: NDArray[Any], resamples: int = 200, seed: int = 0) -> None:
        unique, self._user = np.unique(users, return_inverse=True)
        self._weights = resampling_weights(len(unique), resamples, seed)

    def auc(self, y: NDArray[Any], s: NDArray[Any]) -> NDArray[Any]:
        """Returns (resamples,) AUCs. O(N log N + resamples·N)."""
        y, s = _checked(y, s)
        order = np.argsort(s, kind="stable")
        starts, user, y = _tie_starts(s[order]), self._user[order], y[order]
        return np.array(
            [_auc_of_sorted(y, starts, weights[user].astype(np.float64)) for weights in self._weights]
        )

    def gauc(self, y: NDArray[Any], s: NDArray[Any], group: NDArray[Any]) -> NDArray[Any]:
        """Returns (resamples,) GAUCs; a group belongs to one user. O(N log N + resamples·users)."""
        first, value, n = _group_aucs(y, s, group)
        user = self._user[first]
        users = self._weights.shape[1]
        sums = np.stack([np.bincount(user, weights=part, minlength=users) for part in (value * n, n)], axis=1)
        numerator, denominator = (self._weights @ sums).T
        ratio = np.full(len(numerator), np.nan)
        np.divide(numerator, denominator, out=ratio, where=denominator > 0)
        return ratio

    def ece(self, y: NDArray[Any], p: NDArray[Any]) -> NDArray[Any]:
        """Returns (resamples,) ECEs. O(N + resamples·users·BINS)."""
        y, p = _checked(y, p)
        users = self._weights.shape[1]
        cell = self._user * BINS + _bin(p)
        gaps = np.bincount(cell, weights=y - p, minlength=users * BINS).reshape(users, BINS)
        rows = self._weights @ np.bincount(self._user, minlength=users)
        return np.asarray(np.abs(self._weights @ gaps).sum(axis=1) / rows)

    def mean(self, values: NDArray[Any]) -> NDArray[Any]:
        """Returns (resamples,) means of ``values (N,)``, one per row. O(N + resamples·users)."""
        users = self._weights.shape[1]
        sums, rows = (
            np.bincount(self._user, weights=part, minlength=users) for part in (values, np.ones(len(values)))
        )
        return np.asarray((self._weights @ sums) / (self._weights @ rows))

    def mean_with_interval(self, values: NDArray[Any]) -> dict[str, Any]:
        """Returns {"value", "ci"}: the mean of ``values (N,)``, one per row, and its 95 % interval."""
        return {"value": float(values.mean()), "ci": bootstrap_interval(self.mean(values))}


def resampling_weights(n: int, resamples: int, seed: int) -> NDArray[Any]:
    """Returns (resamples, n) float32: how often each unit was drawn, n draws each. O(resamples·n)."""
    if resamples <= 0:
        raise ValueError(f"resamples is {resamples}, expected above 0")
    generator = np.random.default_rng(seed)
    weights = np.empty((resamples, n), np.float32)
    for draw in weights:
        draw[:] = np.bincount(generator.integers(n, size=n), minlength=n)
    return weights


def bootstrap_interval(samples: NDArray[Any]) -> tuple[float, float]:
    """Returns the 95 % percentile interval of resampled values, without NaNs; (NaN, NaN) if none is left."""
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def user_days(user_id: NDArray[Any], time_ms: NDArray[Any], start_ms: int) -> NDArray[Any]:
    """Returns (N,) int64: one number per (user, day), with days counted from ``start_ms``."""
    day = (time_ms - start_ms) // DAY_MS
    _, user = np.unique(user_id, return_inverse=True)
    return np.asarray(
        user * (day.max(initial=0) - day.min(initial=0) + 1) + day - day.min(initial=0), np.int64
    )


def _checked(y: NDArray[Any], s: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    y, s = np.asarray(y, np.float64), np.asarray(s, np.float64)
    if y.ndim != 1 or y.shape != s.shape:
        raise ValueError(f"labels {y.shape} and scores {s.shape}: expected two of shape (N,)")
    bad = np.flatnonzero(~np.isfinite(s))
    if len(bad):
        raise ValueError(f"scores must be finite, scores[{int(bad[0])}] is {s[bad[0]]}")
    return y, s


def _tie_starts(ordered: NDArray[Any]) -> NDArray[Any]:
    return (
        np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
        if len(ordered)
        else np.empty(0, int)
    )


def _auc_of_sorted(y: NDArray[Any], starts: NDArray[Any], weights: NDArray[Any]) -> float:
    """Returns the AUC of rows in order of score; ``starts``: of the runs of ties."""
    if not len(y):
        return float("nan")
    positive = np.add.reduceat(weights * y, starts)
    negative = np.add.reduceat(weights, starts) - positive
    below = np.cumsum(negative) - negative
    total = positive.sum() * negative.sum()
    return float((positive * (below + 0.5 * negative)).sum() / total) if total > 0 else float("nan")


def _group_aucs(
    y: NDArray[Any], s: NDArray[Any], group: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Returns (a row, the AUC, the number of rows), each (G,), of each group with both classes. O(N log N).

    Within a group AUC = (sum of the positives' mid-ranks − P(P + 1)/2) / (P·Q) with P positives and Q
    negatives.
    """
    y, s = _checked(y, s)
    group = np.asarray(group)
    if group.shape != y.shape:
        raise ValueError(f"labels {y.shape} and groups {group.shape}: expected the same shape")
    if not len(y):
        return np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
    order = np.lexsort((s, group))
    g, v, positive = group[order], s[order], y[order]
    new_group = np.concatenate([[True], g[1:] != g[:-1]])
    starts = np.flatnonzero(new_group)
    new_tie = new_group | np.concatenate([[True], v[1:] != v[:-1]])
    ties = np.flatnonzero(new_tie)
    tie_ends = np.concatenate([ties[1:], [len(y)]])
    mid = (ties + 1 + tie_ends) / 2.0
    rank = mid[np.cumsum(new_tie) - 1] - starts[np.cumsum(new_group) - 1]
    n = np.diff(np.concatenate([starts, [len(y)]]))
    p = np.add.reduceat(positive, starts)
    u = np.add.reduceat(positive * rank, starts) - p * (p + 1) / 2
    has_both = (p > 0) & (p < n)
    return order[starts[has_both]], u[has_both] / (p[has_both] * (n - p)[has_both]), n[has_both]


def _bin(p: NDArray[Any]) -> NDArray[Any]:
    return np.clip((p * BINS).astype(np.int64), 0, BINS - 1)
