"""Greedy selection by a determinantal point process (DPP), in Numba and float64.

``native/include/karec/dpp.hpp`` has the definition. The C++ library compares gains in float32. It may take
another item if two gains differ by less than 1e-6·q².

Source: Chen, Zhang, Zhou: Fast greedy MAP inference for determinantal point process, 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from karec.kernels.arguments import (
    MAX_RIDGE,
    RIDGE,
    between,
    column,
    finite,
    matrix,
    positive,
    positive_or_none,
    real,
)

MIN_RESIDUAL = 1e-6  # relative to an item's first residual; below it the item adds nothing

Selection = tuple[NDArray[np.int64], NDArray[np.float64], float, int]  # indices, gains, log_det, n_dpp


def dpp_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    *,
    alpha: float = 0.5,
    ridge: float = RIDGE,
    weights: ArrayLike | None = None,
    window: int | None = None,
    fill: bool = True,
) -> Selection:
    """Selects ``min(k, N)`` items that are relevant and differ from each other.

    Args:
        embeddings: (N, D) float32 or float16.
        relevance: (N,) float32, larger is better.
        k, alpha, ridge, weights, window: as in ``karec.diversity.dpp_select``.
        fill: continues by q, largest first, if no other item adds anything.

    Returns:
        indices (n,) int64, gains (n,) float64, log_det, n_dpp: as in ``karec.diversity.DiversityResult``.

    Raises:
        ValueError: shapes that do not fit, NaN or infinity, a negative weight, an option out of range.
        TypeError: an option that is not a number.

    Cost: O(N·k·D + k²·D). With a window it is O(N·k·window·D).
    """
    items = finite("embeddings", matrix("embeddings", embeddings)).astype(np.float64)
    r = column("relevance", relevance, len(items)).astype(np.float64)
    w = None if weights is None else column("weights", weights, len(items)).astype(np.float64)
    log_q, k, window = _checked(r, w, k, alpha, ridge, window)
    norms = np.sqrt((items * items).sum(axis=1, keepdims=True))
    unit = items / np.where(norms > 0, norms, 1)
    picks, residuals = _greedy(unit, np.exp(2 * log_q), float(ridge), k, window)
    indices, gains, log_det, n_dpp = _selection(log_q, picks, residuals)
    if not fill:
        return indices, gains, log_det, n_dpp
    by_quality = np.lexsort((-r, -log_q))
    rest = by_quality[~np.isin(by_quality, picks)][: k - n_dpp]
    return np.append(indices, rest), np.append(gains, np.zeros(len(rest))), log_det, n_dpp


def alpha_of(diversity: float) -> float:
    """Returns α = (1 − diversity) / (2·diversity), which is infinite for 0."""
    return np.inf if diversity == 0 else (1 - diversity) / (2 * diversity)


def _checked(
    relevance: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    k: int,
    alpha: float,
    ridge: float,
    window: int | None,
) -> tuple[NDArray[np.float64], int, int]:
    """Returns log q (n,), ``k`` limited to the number of items, and ``window`` limited to ``k``."""
    k, window = min(positive("k", k), len(relevance)), positive_or_none("window", window)
    between("ridge", ridge, MAX_RIDGE)
    if not real("alpha", alpha) >= 0:
        raise ValueError(f"alpha must be ≥ 0, got {alpha}")
    w = np.ones(len(relevance)) if weights is None else finite("weights", weights)
    for at in np.flatnonzero(w < 0)[:1]:
        raise ValueError(f"weights holds {w[at]:f} at position {at}, expected ≥ 0")
    below_best = finite("relevance", relevance) - relevance.max(initial=-np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):  # a weight of 0; infinite α times 0
        log_q = np.log(w) + np.where(below_best == 0, 0.0, alpha * below_best)
    return log_q, k, k if window is None else min(window, k)


def _selection(
    log_q: NDArray[np.float64], picks: NDArray[np.int64], residuals: NDArray[np.float64]
) -> Selection:
    log_gains = 2 * log_q[picks] + np.log(residuals)
    return picks, np.exp(2 * log_q[picks]) * residuals, float(log_gains.sum()), len(picks)


@njit(cache=True, nogil=True)
def _greedy(unit: Any, q2: Any, ridge: float, k: int, window: int) -> Any:
    """Returns picks (n,) and their residuals. The residual of item i is its conditional variance at q = 1.

    Each pick gives a direction: its vector without the components along earlier directions, divided by the
    root of its residual. The residual of an item falls by the square of its product with the direction.
    """
    n, dim = unit.shape
    first = np.empty(n)
    for i in range(n):
        first[i] = (1.0 if np.any(unit[i] != 0.0) else 0.0) + ridge
    residual, remaining = first.copy(), q2.copy()
    directions = np.empty((k, dim))
    picks, residuals = np.empty(k, np.int64), np.empty(k)
    for t in range(k):
        oldest, newest = 0, max(t - 1, 0)
        if window < k:
            residual[:] = first
            oldest = newest = max(t - window + 1, 0)
        for s in range(newest, t):
            u = directions[s]
            u[:] = unit[picks[s]]
            for earlier in range(oldest, s):
                u -= inner(directions[earlier], unit[picks[s]]) * directions[earlier]
            u /= np.sqrt(residual[picks[s]])
            for i in range(n):
                residual[i] -= inner(unit[i], u) ** 2
        best, best_gain = -1, 0.0
        for i in range(n):
            gain = remaining[i] * residual[i]
            if gain > best_gain and residual[i] > MIN_RESIDUAL * first[i]:
                best, best_gain = i, gain
        if best < 0:
            return picks[:t], residuals[:t]
        picks[t], residuals[t], remaining[best] = best, residual[best], 0.0
    return picks, residuals


@njit(cache=True, nogil=True)
def inner(a: Any, b: Any) -> float:
    """Returns the inner product, summed in the order of the dimensions."""
    total = 0.0
    for d in range(len(a)):
        total += a[d] * b[d]
    return total
