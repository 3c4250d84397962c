"""MMR and SSD in Numba: the definitions in ``native/include/karec/mmr_ssd.hpp``, eagerly and in float64.

O(N·k·D), with a window O(N·k·window·D). The C++ library compares scores in float32: where two of them are
closer than that can tell, the two may take another item first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from karec.kernels.dpp_options import checked_facet_weights
from karec.kernels.option_values import between, positive, positive_or_none
from karec.kernels.portable.arrays import Float64, Int64, finite, float32_input, matrix_input
from karec.kernels.portable.dpp_problem import counted_facets, facet_inputs, unit
from karec.kernels.portable.facet_offsets import facet_offsets

LEAST_RESIDUAL = 1e-5  # of ‖p‖², below which p counts as 0


def mmr_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    diversity: float,
    window: int | None,
    shown: ArrayLike | None,
    facets: ArrayLike | None,
    facet_weights: Sequence[float],
    shown_facets: ArrayLike | None,
) -> tuple[Int64, Float64]:
    """``karec._native.mmr_select``: (indices, scores)."""
    alike = (facets, facet_weights, shown_facets)
    return _select(embeddings, relevance, k, diversity, window, shown, alike, False)


def ssd_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    diversity: float,
    window: int | None,
    shown: ArrayLike | None,
    facets: ArrayLike | None,
    facet_weights: Sequence[float],
    shown_facets: ArrayLike | None,
) -> tuple[Int64, Float64]:
    """``karec._native.ssd_select``: (indices, scores)."""
    alike = (facets, facet_weights, shown_facets)
    return _select(embeddings, relevance, k, diversity, window, shown, alike, True)


def _select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    diversity: float,
    window: int | None,
    shown: ArrayLike | None,
    alike: tuple[ArrayLike | None, Sequence[float], ArrayLike | None],
    orthogonal: bool,
) -> tuple[Int64, Float64]:
    positive("k", k)
    items = matrix_input(embeddings, "embeddings", ("N", "D"))
    n, dim = items.shape
    because = f"embeddings has shape {items.shape}"
    r = float32_input(relevance, "relevance", (n,), because)
    window = positive_or_none("window", window)
    seen = items[:0] if shown is None else matrix_input(shown, "shown", ("M", dim), because)
    facet_weights = checked_facet_weights(alike[1])
    facets, of_shown = facet_inputs(alike[0], len(facet_weights), alike[2], n, len(seen), because)
    between("diversity", diversity, 1.0)
    for name, values in (("relevance", r), ("shown", seen), ("embeddings", items)):
        finite(name, values)
    k = min(k, n)
    window = k if window is None else min(window, k)
    codes, weights = counted_facets(facets, facet_weights, of_shown, len(seen))
    rows = np.concatenate([unit(seen), unit(items)]) * np.sqrt(max(0.0, 1 - weights.sum()))
    value = (1 - diversity) * r
    picks, scores = _greedy(rows, len(seen), codes, weights, value, diversity, k, window, orthogonal)
    return picks, scores


@njit(cache=True, nogil=True)
def _product(row: Any, rows: Any, facets: Any, u: Any, offsets: Any) -> float:
    """Of a row's features and a direction."""
    total = 0.0
    for f in range(len(offsets)):
        if facets[f, row] >= 0:
            total += offsets[f, facets[f, row]]
    for d in range(len(u)):
        total += rows[row, d] * u[d]
    return total


@njit(cache=True, nogil=True)
def _direction(
    rows: Any, facets: Any, weights: Any, counted: Any, vectors: Any, shares: Any, n_shown: int, first: int,
    last: int, orthogonal: bool, n_values: int,
) -> Any:  # fmt: skip
    """Writes row ``last``, the direction of row counted[last], and returns its offsets.

    Of MMR that row's features themselves, of SSD what the shown ones and directions first … last − 1 leave of
    them, at unit length. Beside the vectors' part of a direction stand the shares of the counted rows'
    features in it.
    """
    row = counted[last]
    u, share = vectors[last], shares[last]
    u[:] = rows[row]
    share[last] = 1.0
    if not orthogonal:
        return facet_offsets(facets, weights, counted, share[: last + 1], n_values)
    for s in range(last):
        if n_shown <= s < first:
            continue
        offsets = facet_offsets(facets, weights, counted, shares[s, : s + 1], n_values)
        part = _product(row, rows, facets, vectors[s], offsets)
        u -= part * vectors[s]
        share[: s + 1] -= part * shares[s, : s + 1]
    offsets = facet_offsets(facets, weights, counted, share[: last + 1], n_values)
    squared = 0.0
    for d in range(len(u)):
        squared += u[d] * u[d]
    for s in range(last + 1):
        for f in range(len(weights)):
            if facets[f, counted[s]] >= 0:
                squared += share[s] * offsets[f, facets[f, counted[s]]]
    length = np.sqrt(squared) if squared > LEAST_RESIDUAL else np.inf
    u /= length
    share /= length
    offsets /= length
    return offsets


@njit(cache=True, nogil=True)
def _follow(u: Any, offsets: Any, rows: Any, facets: Any, n_shown: int, state: Any, orthogonal: bool) -> None:
    """What a direction changes for every item: MMR's state is the largest similarity, SSD's is ‖p‖²."""
    for i in range(len(state)):
        dot = _product(n_shown + i, rows, facets, u, offsets)
        state[i] = state[i] - dot * dot if orthogonal else max(state[i], dot)


@njit(cache=True, nogil=True)
def _greedy(
    rows: Any, n_shown: int, facets: Any, weights: Any, value: Any, diversity: float, k: int, window: int,
    orthogonal: bool,
) -> Any:  # fmt: skip
    """``rows (M + N, D)``, ``facets (F, M + N)``: of what was shown, then of the items."""
    n, n_rows = len(value), n_shown + k
    n_values = facets.max() + 1 if facets.size else 0
    counted = np.zeros(n_rows, np.int64)
    vectors, shares = np.zeros((n_rows, rows.shape[1])), np.zeros((n_rows, n_rows))
    start = np.full(n, -1.0)
    if orthogonal:
        for i in range(n):
            start[i] = np.sum(rows[n_shown + i] ** 2) + np.sum(weights)
    for row in range(n_shown):
        counted[row] = row
        offsets = _direction(
            rows, facets, weights, counted, vectors, shares, n_shown, n_shown, row, orthogonal, n_values
        )
        _follow(vectors[row], offsets, rows, facets, n_shown, start, orthogonal)
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
            offsets = facet_offsets(facets, weights, counted, shares[s, : s + 1], n_values)
            _follow(vectors[s], offsets, rows, facets, n_shown, state, orthogonal)
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
        counted[last] = n_shown + best
        _direction(
            rows, facets, weights, counted, vectors, shares, n_shown, first, last, orthogonal, n_values
        )
    return picks, scores
