"""Vectorised weighted sampling of rows, only among rows that exist at a moment.

A draw costs two binary searches. Every function takes its random generator, so each part of the world depends
only on its own seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def zipf_weights(n: int, exponent: float, shift: float = 3.0) -> NDArray[Any]:
    """Returns (n,) float64 weights (rank + shift)^−exponent (Mandelbrot), with sum 1."""
    weights = (np.arange(n) + shift) ** -exponent
    return np.asarray(weights / weights.sum())


def weighted_rows(weights: NDArray[Any], n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Draws (n,) int64 rows with replacement, row r in proportion to ``weights[r]``."""
    cumulative = np.cumsum(weights)
    rows = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.asarray(np.minimum(rows, len(weights) - 1))


def unit_rows(matrix: NDArray[Any]) -> NDArray[Any]:
    """Returns the rows scaled to length 1, float32."""
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)


class PrefixSampler:
    """Draws a row of one group among the first ``limit`` rows, in proportion to its weight.

    Rows are in upload order, so the first ``limit`` are those that exist at a moment. Cost: O(N log N) and 16
    bytes a row to build; O(log N) a draw.
    """

    def __init__(self, groups: NDArray[Any], weights: NDArray[Any], n_groups: int) -> None:
        self._n = len(groups)
        self._rows = np.argsort(groups, kind="stable")
        self._keys = groups[self._rows].astype(np.int64) * self._n + self._rows
        self._cumulative = np.concatenate([[0.0], np.cumsum(weights[self._rows], dtype=np.float64)])
        self._starts = np.searchsorted(self._keys, np.arange(n_groups, dtype=np.int64) * self._n)

    def draw(self, groups: NDArray[Any], limits: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Returns (M,) int64 rows for (group, limit); −1 if the group has no row below its limit."""
        low = self._starts[groups]
        high = np.searchsorted(self._keys, np.asarray(groups, np.int64) * self._n + limits)
        base = self._cumulative[low]
        values = base + rng.random(len(low)) * (self._cumulative[high] - base)
        places = np.searchsorted(self._cumulative, values, side="right") - 1
        rows = self._rows[np.clip(places, low, np.maximum(high - 1, low)) % self._n]
        return np.where(high > low, rows, -1)
