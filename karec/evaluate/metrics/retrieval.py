"""Measures of retrieval: how much of what a user took, and was held out, stands at the top of all works.

``top (U, K)``: the best works of each user, best first, as rows of works, −1 padded. What was held out are
pairs: ``user (P,)`` below U and ``work (P,)`` rows of works, each pair once. Every measure is (U,) float64,
NaN for a user of whom nothing was held out, so that callers average and resample by user.

recall@k   |top k ∩ held| / |held|
NDCG@k     Σ_{held in top k} 1/log₂(2 + place) / Σ_{i < min(k, |held|)} 1/log₂(2 + i)

Source  K. Järvelin, J. Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20 (2002), for
        NDCG.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE = 512  # users whose scores are in memory at once


def recall_at(top: NDArray[Any], user: NDArray[Any], work: NDArray[Any], k: int) -> NDArray[Any]:
    """Raises ValueError unless 1 ≤ k ≤ K, and for users that are not below U. O(U·K·log P)."""
    hits, held = _hits(top, user, work, k)
    return np.asarray(np.divide(hits.sum(axis=1), held, out=np.full(len(top), np.nan), where=held > 0))


def ndcg_at(top: NDArray[Any], user: NDArray[Any], work: NDArray[Any], k: int) -> NDArray[Any]:
    """Raises ValueError as ``recall_at`` does."""
    hits, held = _hits(top, user, work, k)
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(held, k)]
    return np.asarray(np.divide(hits @ discount, ideal, out=np.full(len(top), np.nan), where=held > 0))


def top_of(users: NDArray[Any], works: NDArray[Any], known: NDArray[Any], k: int) -> NDArray[Any]:
    """(U, k) rows of ``works (N, D)`` by inner product with ``users (U, D)``, without ``known (U, H)``, which
    is −1 padded. Fewer than k are −1 padded. O(U·N·D).
    """
    return np.concatenate(
        [
            best_of(users[at : at + PIECE] @ works.T, known[at : at + PIECE], k)
            for at in range(0, max(len(users), 1), PIECE)
        ]
    )


def best_of(scores: NDArray[Any], known: NDArray[Any], k: int) -> NDArray[Any]:
    """(U, k) the columns of the largest ``scores (U, N)``, best first, ties by column, without ``known (U,
    H)`` and scores of −∞; −1 padded. O(U·N).
    """
    scores = np.array(scores, np.float32)
    row, place = np.nonzero(known >= 0)
    scores[row, known[row, place]] = -np.inf
    n = scores.shape[1]
    few = min(k, n)
    bound = np.partition(scores, n - few, axis=1)[:, n - few]
    top = np.full((len(scores), k), -1, np.int64)
    for at, (values, least) in enumerate(zip(scores, bound, strict=True)):
        candidates = np.flatnonzero(values >= least)
        candidates = candidates[values[candidates] > -np.inf]
        best = candidates[np.argsort(-values[candidates], kind="stable")][:few]
        top[at, : len(best)] = best
    return top


def _hits(
    top: NDArray[Any], user: NDArray[Any], work: NDArray[Any], k: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(whether each place of the top k holds a work held out (U, k), how many were held out (U,))."""
    if not 1 <= k <= top.shape[1]:
        raise ValueError(f"k = {k} for the top {top.shape[1]}: expected 1 to {top.shape[1]}")
    if len(user) and not 0 <= user.min() <= user.max() < len(top):
        raise ValueError(f"users {user.min()} … {user.max()} for {len(top)} of them")
    most = max(int(top.max(initial=0)), int(work.max(initial=0))) + 1
    key = np.sort(user * most + work)
    asked = np.arange(len(top))[:, None] * most + top[:, :k]
    if not len(key):
        return np.zeros((len(top), k), bool), np.zeros(len(top), np.int64)
    found = key[np.minimum(np.searchsorted(key, asked), len(key) - 1)] == asked
    return found & (top[:, :k] >= 0), np.bincount(user, minlength=len(top))
