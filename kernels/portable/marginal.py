"""MMR and SSD in Numba: the definitions in ``native/include/karec/mmr_ssd.hpp``, eagerly and in float64.

O(N·k·D), with a window O(N·k·window·D). The C++ library compares scores in float32: where two of them are closer than
that can tell, the two may take another item first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from karec.kernels.option_values import between, positive, positive_or_none
from karec.kernels.portable.arrays import Float64, Int64, finite, float32_input, matrix_input
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
    positive("k", k)
    items = matrix_input(embeddings, "embeddings", ("N", "D"))
    n, dim = items.shape
    because = f"embeddings has shape {items.shape}"
    r = float32_input(relevance, "relevance", (n,), because)
    window = positive_or_none("window", window)
    seen = items[:0] if shown is None else matrix_input(shown, "shown", ("M", dim), because)
    between("diversity", diversity, 1.0)
    for name, values in (("relevance", r), ("shown", seen), ("embeddings", items)):
        finite(name, values)
    k = min(k, n)
    window = k if window is None else min(window, k)
    picks, scores = _greedy(unit(items), (1 - diversity) * r, unit(seen), diversity, k, window, orthogonal)
    return picks, scores


@njit(cache=True, nogil=True)
def _follow(u: Any, items: Any, state: Any, orthogonal: bool) -> None:
    """What direction u changes for every item: MMR's state is the largest cosine, SSD's is ‖p‖²."""
    n, dim = items.shape
    for i in range(n):
        dot = 0.0
        for d in range(dim):
            dot += items[i, d] * u[d]
        state[i] = state[i] - dot * dot if orthogonal else max(state[i], dot)


@njit(cache=True, nogil=True)
def _direction(f: Any, directions: Any, n_shown: int, first: int, last: int, orthogonal: bool) -> None:
    """Writes row ``last``, the direction of the unit vector f: of MMR f itself, of SSD what the shown ones and rows
    first … last − 1 leave of it, at unit length."""
    dim = len(f)
    u = directions[last]
    u[:] = f
    if not orthogonal:
        return
    for s in range(last):
        if n_shown <= s < first:
            continue
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


@njit(cache=True, nogil=True)
def _greedy(items: Any, value: Any, shown: Any, diversity: float, k: int, window: int, orthogonal: bool) -> Any:
    n, dim = items.shape
    n_shown = len(shown)
    directions = np.zeros((n_shown + k, dim))
    start = np.full(n, -1.0)
    if orthogonal:
        for i in range(n):
            start[i] = 1.0 if np.any(items[i] != 0.0) else 0.0
    for row in range(n_shown):
        _direction(shown[row], directions, n_shown, n_shown, row, orthogonal)
        _follow(directions[row], items, start, orthogonal)
    state = start.copy()
    taken = np.zeros(n, np.bool_)
    picks = np.empty(k, np.int64)
    scores = np.empty(k)
    for t in range(k):
        last = n_shown + t
        first = n_shown if window >= k else max(last - window + 1, n_shown)
        newest = max(last - 1, n_shown)
        if window < k:
            state = start.copy()
            newest = first
        for s in range(newest, last):
            _follow(directions[s], items, state, orthogonal)
        nothing = n_shown + last - first == 0
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
        _direction(items[best], directions, n_shown, first, last, orthogonal)
    return picks, scores
