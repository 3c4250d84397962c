"""DPP on explicit kernels in Numba: a matrix, or a similarity of the user's own, compiled into the greedy loop.

Chen's incremental Cholesky (native/src/dpp_explicit.cpp says how), float64, O(N·k²); with a window shorter than k the
last window − 1 picks are factored anew at each step, O(N·k·window²). Of a similarity only the columns of picks are ever
computed: O(N·k) calls of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]
Int = NDArray[np.int64]

LEAST_SHARE = 1e-6


def finite(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """``array``; ValueError naming the first NaN or infinity in it."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        at = tuple(int(axis) for axis in bad[0])
        what = "NaN" if np.isnan(array[at]) else "infinity"
        raise ValueError(f"{name} holds {what} at {at if len(at) > 1 else f'position {at[0]}'}")
    return array


def dpp_select_kernel(kernel: ArrayLike, k: int, *, window: int | None = None) -> tuple[Int, Float64, float, int]:
    """``karec.dpp_select_kernel`` of a matrix: (indices, gains, log_det, n_dpp)."""
    if k <= 0:
        raise ValueError(f"k must be positive, got {k}")
    matrix = np.ascontiguousarray(finite("kernel", np.asarray(kernel, np.float64)))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"kernel has shape {matrix.shape}, expected (N, N)")
    k = min(k, len(matrix))
    picks, gains = _greedy_kernel(matrix, k, k if window is None else min(window, k))
    return picks, gains, float(np.log(gains).sum()), len(picks)


def dpp_select_similarity(
    similarity: Callable[[Any, int, int], float],
    data: Any,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = 0.5,
    alpha: float | None = None,
    ridge: float = 1e-2,
    weights: ArrayLike | None = None,
    window: int | None = None,
) -> tuple[Int, Float64, float, int]:
    """Greedy DPP with S_ij = ``similarity(data, i, j)``, symmetric positive semi-definite, compiled into the loop.

    similarity  a function under ``@numba.njit``
    data        what it reads: an array, or a tuple of arrays
    relevance   (N,); it, ``diversity``, ``alpha``, ``ridge``, ``weights`` and ``window`` as in ``karec.dpp_select``

    Returns (indices, gains, log_det, n_dpp), without a fill. Compiles at the first call of a ``similarity``.
    ValueError: NaN or infinity in relevance, weights or a similarity that is needed; k ≤ 0.
    """
    if k <= 0:
        raise ValueError(f"k must be positive, got {k}")
    r = finite("relevance", np.asarray(relevance, np.float64))
    w = np.ones(len(r)) if weights is None else finite("weights", np.asarray(weights, np.float64))
    if r.ndim != 1 or w.shape != r.shape:
        raise ValueError(f"relevance has shape {r.shape} and weights {w.shape}, expected (N,) both")
    if alpha is None:
        alpha = np.inf if diversity == 0 else (1 - diversity) / (2 * diversity)
    below = r - r.max(initial=-np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_q = np.log(w) + np.where(below == 0, 0.0, alpha * below)
    k = min(k, len(r))
    picks, rho = _greedy_similarity(similarity, data, np.exp(2 * log_q), ridge, k, k if window is None else window)
    if len(rho) and not np.isfinite(rho).all():
        raise ValueError(f"the similarity of item {picks[-1]} with some other is not finite")
    gains = np.exp(2 * log_q[picks]) * rho
    return picks, gains, float((2 * log_q[picks] + np.log(rho)).sum()), len(picks)


@njit(cache=True, nogil=True)
def _greedy_kernel(kernel: Any, k: int, window: int) -> Any:
    n = len(kernel)
    rows = np.zeros((k, n))
    picks = np.empty(k, np.int64)
    gains = np.empty(k)
    taken = np.zeros(n, np.bool_)
    d2 = np.diag(kernel).copy()
    for t in range(k):
        oldest, newest = 0, max(t - 1, 0)
        if window < k:
            d2 = np.diag(kernel).copy()
            oldest = newest = max(t - window + 1, 0)
        for s in range(newest, t):
            _explain(kernel[picks[s]].copy(), picks, rows, d2, oldest, s)
        best = -1
        for i in range(n):
            if not taken[i] and d2[i] > LEAST_SHARE * kernel[i, i] and (best < 0 or d2[i] > d2[best]):
                best = i
        if best < 0:
            return picks[:t], gains[:t]
        picks[t], gains[t], taken[best] = best, d2[best], True
    return picks, gains


@njit(nogil=True)
def _greedy_similarity(similarity: Any, data: Any, q2: Any, ridge: float, k: int, window: int) -> Any:
    n = len(q2)
    rows = np.zeros((k, n))
    columns = np.empty((k, n))
    picks = np.empty(k, np.int64)
    rhos = np.empty(k)
    remaining = q2.copy()
    first = np.empty(n)
    for i in range(n):
        first[i] = similarity(data, i, i) + ridge
    rho = first.copy()
    for t in range(k):
        oldest, newest = 0, max(t - 1, 0)
        if window < k:
            rho = first.copy()
            oldest = newest = max(t - window + 1, 0)
        for s in range(newest, t):
            _explain(columns[s].copy(), picks, rows, rho, oldest, s)
        best, best_gain = -1, 0.0
        for i in range(n):
            gain = remaining[i] * rho[i]
            if np.isnan(gain) or (gain > best_gain and rho[i] > LEAST_SHARE * first[i]):
                best, best_gain = i, gain
        if best < 0:
            return picks[:t], rhos[:t]
        picks[t], rhos[t], remaining[best] = best, rho[best], 0.0
        if not np.isfinite(rhos[t]):
            return picks[: t + 1], rhos[: t + 1]
        for i in range(n):
            columns[t, i] = similarity(data, best, i)
        columns[t, best] += ridge
    return picks, rhos


@njit(cache=True, nogil=True)
def _explain(column: Any, picks: Any, rows: Any, d2: Any, oldest: int, s: int) -> None:
    """Row s of the Cholesky factors, given rows oldest … s − 1 and the pick's column: what pick s explains."""
    pick = picks[s]
    for r in range(oldest, s):
        column -= rows[r, pick] * rows[r]
    column /= np.sqrt(d2[pick])
    rows[s] = column
    d2 -= column * column
