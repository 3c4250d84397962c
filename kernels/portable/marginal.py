"""MMR and SSD in Numba: the definitions in ``native/include/karec/embedding_scatter.hpp``, eagerly and in float64.

O(N·k·D), with a window O(N·k·window·D). The C++ library compares scores in float32: where two of them are closer than
that can tell, the two may take another item first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from karec.kernels.portable.arrays import Float64, Int64, finite, float32_input, matrix_input, positive
from karec.kernels.portable.dpp_problem import unit

LEAST_RESIDUAL = 1e-5  # of ‖p‖², below which p counts as 0


def mmr_select(
    embeddings: ArrayLike, relevance: ArrayLike, k: int, diversity: float, window: int | None, shown: ArrayLike | None
) -> tuple[Int64, Float64]:
    """``karec._native.mmr_select``: (indices, scores)."""
    return _select(embeddings, relevance, k, diversity, window, shown, False)


def ssd_select(
    embeddings: ArrayLike, relevance: ArrayLike, k: int, diversity: float, window: int | None, shown: ArrayLike | None
) -> tuple[Int64, Float64]:
    """``karec._native.ssd_select``: (indices, scores)."""
    return _select(embeddings, relevance, k, diversity, window, shown, True)


def _select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    diversity: float,
    window: int | None,
    shown: ArrayLike | None,
    orthogonal: bool,
) -> tuple[Int64, Float64]:
    positive(k, "k")
    items = matrix_input(embeddings, "embeddings", ("N", "D"))
    n, dim = items.shape
    because = f"embeddings has shape {items.shape}"
    r = float32_input(relevance, "relevance", (n,), because)
    if window is not None:
        positive(window, "window")
    seen = items[:0] if shown is None else matrix_input(shown, "shown", ("M", dim), because)
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity must lie in [0, 1], got {diversity}")
    for name, values in (("relevance", r), ("shown", seen), ("embeddings", items)):
        finite(name, values)
    k = min(k, n)
    window = k if window is None else min(window, k)
    picks, scores = _greedy(unit(items), (1 - diversity) * r, unit(seen), diversity, k, window, orthogonal)
    return picks, scores


@njit(cache=True, nogil=True)
def _add(f: Any, directions: Any, known: int, state: Any, items: Any, orthogonal: bool) -> None:
    """Direction number ``known`` from the unit vector f, and what it changes for every item.

    MMR: f itself; the state is the largest cosine. SSD: what earlier directions leave of f; the state is ‖p‖².
    """
    n, dim = items.shape
    u = directions[known]
    u[:] = f
    if orthogonal:
        for s in range(known):
            part = 0.0
            for d in range(dim):
                part += directions[s, d] * f[d]
            for d in range(dim):
                u[d] -= part * directions[s, d]
        squared = 0.0
        for d in range(dim):
            squared += u[d] * u[d]
        length = np.sqrt(squared) if squared > LEAST_RESIDUAL else np.inf
        for d in range(dim):
            u[d] /= length
    for i in range(n):
        dot = 0.0
        for d in range(dim):
            dot += items[i, d] * u[d]
        state[i] = state[i] - dot * dot if orthogonal else max(state[i], dot)


@njit(cache=True, nogil=True)
def _greedy(items: Any, value: Any, shown: Any, diversity: float, k: int, window: int, orthogonal: bool) -> Any:
    n, dim = items.shape
    directions = np.zeros((len(shown) + k, dim))
    start = np.full(n, -1.0)
    if orthogonal:
        for i in range(n):
            start[i] = 1.0 if np.any(items[i] != 0.0) else 0.0
    for row in range(len(shown)):
        _add(shown[row], directions, row, start, items, orthogonal)
    state = start.copy()
    taken = np.zeros(n, np.bool_)
    picks = np.empty(k, np.int64)
    scores = np.empty(k)
    kept = np.zeros((k, dim))  # each pick's direction as it was when it was picked
    for t in range(k):
        first = max(t - window + 1, 0) if window < k else 0
        if window < k:
            state = start.copy()
            for s in range(first, t):
                for i in range(n):
                    dot = 0.0
                    for d in range(dim):
                        dot += items[i, d] * kept[s, d]
                    state[i] = state[i] - dot * dot if orthogonal else max(state[i], dot)
        nothing = len(shown) + t - first == 0
        best, best_score = -1, -np.inf
        for i in range(n):
            if taken[i]:
                continue
            if orthogonal:
                score = value[i] + diversity * (np.sqrt(state[i]) if state[i] > LEAST_RESIDUAL else 0.0)
            else:
                score = value[i] - diversity * (0.0 if nothing else state[i])
            if best < 0 or score > best_score:
                best, best_score = i, score
        picks[t], scores[t], taken[best] = best, best_score, True
        for s in range(first, t):
            directions[len(shown) + s - first] = kept[s]
        _add(items[best], directions, len(shown) + t - first, state, items, orthogonal)
        kept[t] = directions[len(shown) + t - first]
    return picks, scores
