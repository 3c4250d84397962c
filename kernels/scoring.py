"""Scores rows of a matrix against a query and keeps the best k, in Numba.

The scores have the bits of the C++ library: a product is 16 partial sums over the dimensions d ≡ j (mod 16),
added by a fixed tree (``native/src/kernels/scoring_loops.inc``), without fast-math. The sum of a row's tables
is added to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from karec.kernels.arguments import column, finite, matrix, positive

BLOCK_ROWS = 1 << 14  # rows that are converted to float32 at once


def score_top_k(
    vectors: ArrayLike,
    query: ArrayLike,
    k: int,
    rows: ArrayLike | None = None,
    sums: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns the k largest inner products of ``query`` with the rows of ``vectors``, plus their ``sums``.

    Args:
        vectors: (N, D) float32 or float16.
        query: (D,) float32.
        k: at least 1. The result has n = min(k, number of candidates) entries.
        rows: (M,) integers in [0, N), the candidates. None: every row is a candidate.
        sums: (N,) of ``sum_tables``. None: 0.

    Returns:
        scores: (n,) float32, descending. NaN counts as −inf, and −0 as +0.
        positions: (n,) int64, positions in ``rows``, or rows if ``rows`` is None. Ties keep that order.

    Raises:
        ValueError: shapes that do not fit, NaN or infinity in the query, a row that does not exist, k ≤ 0.
        TypeError: ``k`` is not an integer.

    Cost: O(M·D + M·log k).
    """
    stored = matrix("vectors", vectors)
    width = (stored.shape[1] + 15) // 16 * 16
    padded = np.zeros(width, np.float32)
    padded[: stored.shape[1]] = finite("query", column("query", query, stored.shape[1]))
    candidates = None if rows is None else _checked_rows(rows, len(stored))
    n = len(stored) if candidates is None else len(candidates)
    scores = np.empty(min(positive("k", k), n), np.float32)
    positions = np.empty(len(scores), np.int64)
    zeros = np.zeros(1, np.float32)
    block = np.zeros((min(n, BLOCK_ROWS), width), np.float32)
    for first in range(0, n, BLOCK_ROWS):
        end = min(first + BLOCK_ROWS, n)
        chosen = slice(first, end) if candidates is None else candidates[first:end]
        block[: end - first, : stored.shape[1]] = stored[chosen]
        _push(block[: end - first], padded, zeros if sums is None else sums[chosen], first, scores, positions)
    order = np.lexsort((positions, -scores))
    return scores[order], positions[order]


def sum_tables(
    codes: NDArray[np.uint32], tables: Sequence[tuple[ArrayLike, ArrayLike, float]]
) -> NDArray[np.float32]:
    """Returns (N,) float32 ((0 + t_0) + t_1) + …, t_c the value of table c for the code in column c.

    Args:
        codes: (N, C) uint32.
        tables: C tables (codes, values, other): ``values[i]`` for ``codes[i]``, ascending, else ``other``.
    """
    sums = np.zeros(len(codes), np.float32)
    for column_codes, (known, values, other) in zip(codes.T, tables, strict=True):
        _add_table(
            np.ascontiguousarray(column_codes),
            np.asarray(known, np.uint32),
            np.asarray(values, np.float32),
            np.float32(other),
            sums,
        )
    return sums


@njit(cache=True, nogil=True)
def _add_table(codes: Any, known: Any, values: Any, other: Any, sums: Any) -> None:
    for i in range(len(codes)):
        at = np.searchsorted(known, codes[i])
        sums[i] += values[at] if at < len(known) and known[at] == codes[i] else other


def _checked_rows(rows: ArrayLike, n: int) -> NDArray[np.int64]:
    given = np.asarray(rows)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"rows has shape {given.shape} and dtype {given.dtype}, expected (M,) integers")
    for at in np.flatnonzero((given < 0) | (given >= n))[:1]:
        raise ValueError(f"rows holds {given[at]} at position {at}, expected 0 to {n} (exclusive)")
    return given.astype(np.int64)


@njit(cache=True, nogil=True)
def _dot(row: Any, query: Any, sums: Any) -> Any:
    """The product of two vectors whose length is a multiple of 16; ``sums`` (16,) is scratch memory."""
    sums[:] = np.float32(0)
    for first in range(0, len(query), 16):
        for j in range(16):
            sums[j] += row[first + j] * query[first + j]
    half = 8
    while half > 0:
        for j in range(half):
            sums[j] += sums[j + half]
        half //= 2
    return sums[0]


@njit(cache=True, nogil=True)
def _push(block: Any, query: Any, added: Any, first: int, scores: Any, positions: Any) -> None:
    """Adds the rows of ``block``, from number ``first`` on, to the heap of the best k; its root is the worst.

    ``added`` is added to their products, one number for all or one for each. Rows are pushed by ascending
    position, so that a row that ties with the root comes after it.
    """
    sums = np.empty(16, np.float32)
    k = len(scores)
    for i in range(len(block)):
        score, position = _dot(block[i], query, sums) + added[min(i, len(added) - 1)], first + i
        score = np.float32(-np.inf) if np.isnan(score) else score + np.float32(0)
        if position < k:
            at = position
            while at > 0 and not _is_better(score, position, scores[(at - 1) // 2], positions[(at - 1) // 2]):
                scores[at], positions[at] = scores[(at - 1) // 2], positions[(at - 1) // 2]
                at = (at - 1) // 2
            scores[at], positions[at] = score, position
        elif score > scores[0]:
            at, child = 0, 1
            while child < k:
                other = child + 1
                if other < k and _is_better(scores[child], positions[child], scores[other], positions[other]):
                    child = other
                if not _is_better(score, position, scores[child], positions[child]):
                    break
                scores[at], positions[at] = scores[child], positions[child]
                at, child = child, 2 * child + 1
            scores[at], positions[at] = score, position


@njit(cache=True, nogil=True)
def _is_better(score: Any, position: int, other_score: Any, other_position: int) -> bool:
    return score > other_score or (score == other_score and position < other_position)
