"""Measures of retrieval: the fraction of a user's held-out items in the top of all items.

``top (U, K)``: item rows of each user, best first, padded with −1. Held-out pairs are ``user (P,)`` below U
and ``item (P,)`` item rows, each pair once. Each measure is (U,) float64, NaN for a user without held-out
items, so callers can average and resample by user.

recall@k   |top k ∩ held| / |held|
NDCG@k     Σ_{held in top k} 1/log₂(2 + place) / Σ_{i < min(k, |held|)} 1/log₂(2 + i)

Source  K. Järvelin, J. Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20 (2002), for
        NDCG.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 512  # users whose scores are in memory at once
BLOCKS_PER_PLACE = 8  # blocks of scores for each item of a top


def recall_at(top: NDArray[Any], user: NDArray[Any], item: NDArray[Any], k: int) -> NDArray[Any]:
    """Returns recall@k. Raises ValueError unless 1 ≤ k ≤ K, and for users not below U. O(U·K·log P)."""
    hits, n_held = _hits(top, user, item, k)
    return np.asarray(np.divide(hits.sum(axis=1), n_held, out=np.full(len(top), np.nan), where=n_held > 0))


def ndcg_at(top: NDArray[Any], user: NDArray[Any], item: NDArray[Any], k: int) -> NDArray[Any]:
    """Returns NDCG@k. Raises ValueError like ``recall_at``."""
    hits, n_held = _hits(top, user, item, k)
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(n_held, k)]
    return np.asarray(np.divide(hits @ discount, ideal, out=np.full(len(top), np.nan), where=n_held > 0))


def top_items(users: NDArray[Any], items: NDArray[Any], known: NDArray[Any], k: int) -> NDArray[Any]:
    """Returns (U, k) rows of ``items (N, D)`` by inner product with ``users (U, D)``. O(U·N·D).

    ``known (U, H)``, padded with −1: rows that are left out.
    """
    return np.concatenate(
        [
            top_columns(users[begin : begin + CHUNK] @ items.T, known[begin : begin + CHUNK], k)
            for begin in range(0, max(len(users), 1), CHUNK)
        ]
    )


def top_columns(scores: NDArray[Any], known: NDArray[Any], k: int) -> NDArray[Any]:
    """Returns (U, k) columns of the largest ``scores (U, N)``, best first, ties by column. O(U·N).

    Columns in ``known (U, H)`` and scores of −∞ are left out.
    """
    scores = np.array(scores, np.float32)
    row, place = np.nonzero(known >= 0)
    scores[row, known[row, place]] = -np.inf
    n = scores.shape[1]
    n_top = min(k, n)
    width = max(n // (BLOCKS_PER_PLACE * k), 1)
    # The largest scores of n_top blocks bound the top from below. np.partition of all scores is slow if most
    # of them are equal.
    largest = scores[:, : n // width * width].reshape(len(scores), n // width, width).max(axis=2)
    bound = np.partition(largest, largest.shape[1] - n_top, axis=1)[:, largest.shape[1] - n_top]
    top = np.full((len(scores), k), -1, np.int64)
    for user, (values, threshold) in enumerate(zip(scores, bound, strict=True)):
        candidates = np.flatnonzero(values >= threshold)
        candidates = candidates[values[candidates] > -np.inf]
        best = candidates[np.argsort(-values[candidates], kind="stable")][:n_top]
        top[user, : len(best)] = best
    return top


def _hits(
    top: NDArray[Any], user: NDArray[Any], item: NDArray[Any], k: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (U, k) bool: position of the top k has a held-out item; and (U,) the number of such items."""
    if not 1 <= k <= top.shape[1]:
        raise ValueError(f"k is {k}, expected 1 to {top.shape[1]}, the width of top")
    if len(user) and not 0 <= user.min() <= user.max() < len(top):
        raise ValueError(f"users are {user.min()} … {user.max()}, expected 0 … {len(top) - 1}")
    n_items = max(int(top.max(initial=0)), int(item.max(initial=0))) + 1
    key = np.sort(user * n_items + item)
    queries = np.arange(len(top))[:, None] * n_items + top[:, :k]
    if not len(key):
        return np.zeros((len(top), k), bool), np.zeros(len(top), np.int64)
    is_held = key[np.minimum(np.searchsorted(key, queries), len(key) - 1)] == queries
    return is_held & (top[:, :k] >= 0), np.bincount(user, minlength=len(top))
