"""Maximal marginal relevance (MMR) and sliding spectrum decomposition (SSD), in Numba and float64.

``native/include/karec/mmr_ssd.hpp`` has the definitions. The C++ library compares scores in float32. It may
take another item if two scores differ by less than the precision of float32.

Source: Carbonell, Goldstein: The use of MMR, 1998. Huang et al.: Sliding spectrum decomposition, 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from karec.kernels.arguments import DIVERSITY, between, column, finite, matrix, positive, positive_or_none
from karec.kernels.dpp import inner

MIN_SQUARED_NORM = 1e-5  # below it the orthogonal component of a unit vector counts as 0

Selection = tuple[NDArray[np.int64], NDArray[np.float64]]  # indices, scores


def mmr_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = DIVERSITY,
    window: int | None = None,
) -> Selection:
    """Selects by (1 − diversity)·r_i − diversity·max_j cos(i, j), where j are the picks so far.

    Args:
        embeddings: (N, D) float32 or float16.
        relevance: (N,) float32, larger is better.
        k, diversity, window: as in ``karec.diversity.mmr_select``.

    Returns:
        indices (n,) int64, scores (n,) float64, n = min(k, N). Ties are ordered by index.

    Raises:
        ValueError: shapes that do not fit, NaN or infinity, an option out of range.
        TypeError: an option that is not a number.

    Cost: O(N·k·D). With a window it is O(N·k·window·D).
    """
    return _select(embeddings, relevance, k, diversity, window, orthogonal=False)


def ssd_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = DIVERSITY,
    window: int | None = None,
) -> Selection:
    """Selects by (1 − diversity)·r_i + diversity·‖p_i‖.

    p_i is the component of the unit vector of i that is orthogonal to the picks so far.

    Arguments, results, errors and cost are those of ``mmr_select``.
    """
    return _select(embeddings, relevance, k, diversity, window, orthogonal=True)


def _select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    diversity: float,
    window: int | None,
    *,
    orthogonal: bool,
) -> Selection:
    items = matrix("embeddings", embeddings)
    k = min(positive("k", k), len(items))
    window = positive_or_none("window", window)
    diversity = between("diversity", diversity, 1.0)
    r = finite("relevance", column("relevance", relevance, len(items)))
    vectors = finite("embeddings", items).astype(np.float64)
    norms = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    unit = vectors / np.where(norms > 0, norms, 1)
    window = k if window is None else min(window, k)
    picks, scores = _greedy(unit, (1 - diversity) * r.astype(np.float64), diversity, k, window, orthogonal)
    return picks, scores


@njit(cache=True, nogil=True)
def _greedy(unit: Any, value: Any, diversity: float, k: int, window: int, orthogonal: bool) -> Any:
    """State of an item: largest similarity (MMR), or squared norm of its orthogonal component (SSD)."""
    n, dim = unit.shape
    start = np.full(n, -1.0)
    if orthogonal:
        for i in range(n):
            start[i] = np.sum(unit[i] ** 2)
    state = start.copy()
    directions = np.empty((k, dim))
    picks, scores = np.empty(k, np.int64), np.empty(k)
    is_free = np.ones(n, np.bool_)
    for t in range(k):
        oldest, newest = 0, max(t - 1, 0)
        if window < k:
            state[:] = start
            oldest = newest = max(t - window + 1, 0)
        for s in range(newest, t):
            for i in range(n):
                product = inner(unit[i], directions[s])
                state[i] = state[i] - product**2 if orthogonal else max(state[i], product)
        best, best_score = -1, -np.inf
        for i in range(n):
            if orthogonal:
                penalty = -np.sqrt(state[i]) if state[i] > MIN_SQUARED_NORM else 0.0
            else:
                penalty = state[i] if t > oldest else 0.0
            score = value[i] - diversity * penalty
            if is_free[i] and (best < 0 or score > best_score):
                best, best_score = i, score
        picks[t], scores[t], is_free[best] = best, best_score, False
        _direction(unit[best], directions, oldest, t, orthogonal)
    return picks, scores


@njit(cache=True, nogil=True)
def _direction(vector: Any, directions: Any, oldest: int, t: int, orthogonal: bool) -> None:
    """Writes direction ``t``: the vector (MMR), or its part orthogonal to directions oldest … t − 1 (SSD)."""
    u = directions[t]
    u[:] = vector
    if not orthogonal:
        return
    for s in range(oldest, t):
        u -= inner(u, directions[s]) * directions[s]
    squared = inner(u, u)
    u /= np.sqrt(squared) if squared > MIN_SQUARED_NORM else np.inf
