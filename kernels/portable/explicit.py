"""DPP on explicit kernels: a matrix, columns on demand, or a similarity of the user's own, compiled into the
loop.

Chen's incremental Cholesky (native/src/diversity/dpp_cholesky.cpp says how), float64, O(N·k²); with a window
shorter than k the last window − 1 picks are factored again at each step, O(N·k·window²). Only columns of
picks are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from karec.kernels.dpp_options import DIVERSITY, RIDGE, checked_options
from karec.kernels.option_values import between, positive, positive_or_none
from karec.kernels.portable.arrays import Float64, Int64, finite, float64_input
from karec.kernels.portable.dpp_problem import LEAST_SHARE, dpp_alpha, log_qualities

Selected = tuple[Int64, Float64, float, int]  # indices, gains, log_det, n_dpp


def dpp_select_kernel(kernel: ArrayLike, k: int, window: int | None = None) -> Selected:
    """``karec._native.dpp_select_kernel``: of a matrix (N, N)."""
    k, window = positive("k", k), positive_or_none("window", window)
    matrix = float64_input(kernel, "kernel", ("N", "N"))
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"kernel has shape {matrix.shape}, expected (N, N)")
    diagonal = np.diag(finite("kernel", matrix))
    negative = np.flatnonzero(diagonal < 0)
    if len(negative):
        i = int(negative[0])
        raise ValueError(f"kernel holds {diagonal[i]} at {(i, i)}: it is not positive semi-definite")
    return _greedy(diagonal, lambda item: matrix[item], k, window)


def dpp_select_columns(
    column: Callable[[int], ArrayLike], diagonal: ArrayLike, k: int, window: int | None
) -> Selected:
    """``karec._native.dpp_select_columns``: of the column of each pick, asked for when it is picked."""
    k, window = positive("k", k), positive_or_none("window", window)
    first = float64_input(diagonal, "diagonal", ("N",))
    bad = np.flatnonzero(~(np.isfinite(first) & (first >= 0)))
    if len(bad):
        raise ValueError(
            f"diagonal holds {first[bad[0]]} at position {bad[0]}: it is not that of a positive "
            f"semi-definite kernel"
        )

    def checked(item: int) -> Float64:
        return finite(f"column {item} of the kernel", float64_input(column(item), "column", first.shape))

    return _greedy(first, checked, k, window)


def dpp_select_similarity(
    similarity: Callable[[Any, int, int], float],
    data: Any,
    relevance: ArrayLike,
    k: int,
    *,
    diversity: float = DIVERSITY,
    alpha: float | None = None,
    ridge: float = RIDGE,
    weights: ArrayLike | None = None,
    window: int | None = None,
) -> Selected:
    """Greedy DPP with S_ij = ``similarity(data, i, j)``, symmetric positive semi-definite, compiled into the
    loop.

    similarity  a function under ``@numba.njit``
    data        what it reads: an array, or a tuple of arrays
    relevance   (N,); it, ``diversity``, ``alpha``, ``ridge``, ``weights`` and ``window`` as in
    ``karec.dpp_select``

    Returns (indices, gains, log_det, n_dpp), without a fill. Compiles at the first call of a ``similarity``.
    ValueError: NaN or infinity in relevance, weights or a similarity that is needed; k ≤ 0; options out of
    range.
    """
    k = positive("k", k)
    if alpha is None:
        alpha = dpp_alpha(between("diversity", diversity, 1.0))
    checked_options(
        alpha=alpha, ridge=ridge, type_weight=0.0, window=window, max_per_type=None, min_per_type=0
    )
    r = finite("relevance", np.asarray(relevance, np.float64))
    w = np.ones(len(r)) if weights is None else finite("weights", np.asarray(weights, np.float64))
    if r.ndim != 1 or w.shape != r.shape:
        raise ValueError(f"relevance has shape {r.shape} and weights {w.shape}, expected (N,) both")
    log_q = log_qualities(r, alpha, w)
    k = min(k, len(r))
    picks, rho = _greedy_similarity(
        similarity, data, np.exp(2 * log_q), ridge, k, k if window is None else window
    )
    if len(rho) and not np.isfinite(rho).all():
        raise ValueError(f"the similarity of item {picks[-1]} with some other is not finite")
    gains = np.exp(2 * log_q[picks]) * rho
    return picks, gains, float((2 * log_q[picks] + np.log(rho)).sum()), len(picks)


def _greedy(diagonal: Float64, column: Callable[[int], Float64], k: int, window: int | None) -> Selected:
    n = len(diagonal)
    k = min(k, n)
    window = k if window is None else min(window, k)
    rows = np.zeros((k, n))
    picks, gains = np.empty(k, np.int64), np.empty(k)
    columns: list[Float64] = []
    free = np.ones(n, np.bool_)
    d2 = diagonal.copy()
    for t in range(k):
        oldest, newest = 0, max(t - 1, 0)
        if window < k:
            d2 = diagonal.copy()
            oldest = newest = max(t - window + 1, 0)
        for s in range(newest, t):
            _explain(columns[s].copy(), picks, rows, d2, oldest, s)
        allowed = free & (d2 > LEAST_SHARE * diagonal)
        if not allowed.any():
            picks, gains = picks[:t], gains[:t]
            break
        best = int(np.argmax(np.where(allowed, d2, -1.0)))
        picks[t], gains[t], free[best] = best, d2[best], False
        if t + 1 < k:
            columns.append(column(best))
    return picks, gains, float(np.log(gains).sum()), len(picks)


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
    """Row s of the Cholesky factors, given rows oldest … s − 1 and the pick's column: what pick s
    explains."""
    pick = picks[s]
    for r in range(oldest, s):
        column -= rows[r, pick] * rows[r]
    column /= np.sqrt(d2[pick])
    rows[s] = column
    d2 -= column * column
