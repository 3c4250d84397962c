"""Agreement of two scorings of a pool: how much of the ranker's top pre-ranking has in its top.

``scores`` (pre-ranking) and ``reference`` (the ranker) score the same pools: arrays of one shape (…, N), a
pool along the last axis. Each measure is (…) float64, one value per pool, so callers can average and resample
by user. Order is by score descending, ties by position. Measures depend only on the order.

hit rate     HR = |top m of reference ∩ top k of scores| / m
normalised   (HR − k/N) / (1 − k/N)        0 = random order, 1 = all in the top; comparable between N and k
NDCG@k       gain g = max(1 − rank/k, 0) of the reference's rank (0 is best), discount 1/log₂(2 + place)
overlap@k    the hit rate with m = k

Source  K. Järvelin, J. Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20 (2002), for
        NDCG.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def hit_rate(scores: NDArray[Any], reference: NDArray[Any], m: int, k: int) -> NDArray[Any]:
    """Returns the fraction of the reference's top ``m`` in the top ``k`` of ``scores``. O(N log N) per pool.

    Raises ValueError for different shapes, scores that are not finite, or m or k outside of [1, N].
    """
    scores, reference = _checked(scores, reference)
    n = scores.shape[-1]
    for name, value in (("m", m), ("k", k)):
        if not 1 <= value <= n:
            raise ValueError(f"{name} is {value}, expected 1 to {n}, the size of the pool")
    hits = (ranks(reference) < m) & (ranks(scores) < k)
    return np.asarray(hits.sum(axis=-1) / m)


def normalised_hit_rate(scores: NDArray[Any], reference: NDArray[Any], m: int, k: int) -> NDArray[Any]:
    """Returns (HR − k/N) / (1 − k/N) of ``hit_rate``. Raises ValueError also if k = N."""
    rate = hit_rate(scores, reference, m, k)
    n = np.shape(scores)[-1]
    if k == n:
        raise ValueError(f"k is {k}, expected less than the size of the pool")
    return np.asarray((rate - k / n) / (1 - k / n))


def ndcg_against(scores: NDArray[Any], reference: NDArray[Any], k: int = 50) -> NDArray[Any]:
    """Returns NDCG of the top ``k`` of ``scores`` with gains from the reference's order. O(N log N) per pool.

    In a pool of fewer than ``k`` items k is N. Raises ValueError like ``hit_rate``, and for empty pools.
    """
    scores, reference = _checked(scores, reference)
    n = scores.shape[-1]
    if k <= 0 or n == 0:
        raise ValueError(f"k is {k} and the size of the pool {n}, expected both above 0")
    k = min(k, n)
    top = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
    gain = np.maximum(1.0 - np.take_along_axis(ranks(reference), top, axis=-1) / k, 0.0)
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    ideal = ((1.0 - np.arange(k) / k) * discount).sum()
    return np.asarray((gain * discount).sum(axis=-1) / ideal)


def ranks(scores: NDArray[Any]) -> NDArray[Any]:
    """Returns the position of each item in its pool, (…, N) int64, 0 is the best. O(N log N) per pool."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(scores.shape[-1]), order.shape), axis=-1)
    return ranks


def _checked(scores: NDArray[Any], reference: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    scores, reference = np.asarray(scores, np.float64), np.asarray(reference, np.float64)
    if scores.ndim == 0 or scores.shape != reference.shape:
        raise ValueError(
            f"scores {scores.shape} and reference {reference.shape}: expected two of one shape (…, N)"
        )
    for name, values in (("scores", scores), ("reference", reference)):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            position = tuple(int(i) for i in bad[0])
            raise ValueError(f"scores must be finite, {name}{list(position)} is {values[position]}")
    return scores, reference
