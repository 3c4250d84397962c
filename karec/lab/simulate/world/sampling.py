"""Rows drawn by weight, all at once, and only from what is there yet.

A draw costs two binary searches. Every function takes the generator it draws from, so a part of the world
depends on its own seed alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def zipf_weights(n: int, exponent: float, shift: float = 3.0) -> NDArray[Any]:
    """(n,) float64 weights (rank + shift)^−exponent of ranks 0 … n−1 (Mandelbrot's form), summing to 1."""
    weights = (np.arange(n) + shift) ** -exponent
    return np.asarray(weights / weights.sum())


def weighted_rows(weights: NDArray[Any], n: int, rng: np.random.Generator) -> NDArray[Any]:
    """(n,) int64 rows drawn with replacement, row r in proportion to ``weights[r]``."""
    cumulative = np.cumsum(weights)
    rows = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.asarray(np.minimum(rows, len(weights) - 1))


def unit_rows(matrix: NDArray[Any]) -> NDArray[Any]:
    """Each row scaled to length 1, float32."""
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)


class PrefixSampler:
    """Draws a row of one group among the first ``limit`` rows, in proportion to its weight.

    Rows are in order of upload, so "the first ``limit``" are those that exist at a moment. O(N log N) to
    build, 16 bytes a row; O(log N) a draw.
    """

    def __init__(self, groups: NDArray[Any], weights: NDArray[Any], n_groups: int) -> None:
        self._n = len(groups)
        self._rows = np.argsort(groups, kind="stable")
        self._keys = groups[self._rows].astype(np.int64) * self._n + self._rows
        self._cumulative = np.concatenate([[0.0], np.cumsum(weights[self._rows], dtype=np.float64)])
        self._starts = np.searchsorted(self._keys, np.arange(n_groups, dtype=np.int64) * self._n)

    def draw(self, groups: NDArray[Any], limits: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """(M,) int64 a row for each (group, limit); −1 where the group has no row below its limit."""
        low = self._starts[groups]
        high = np.searchsorted(self._keys, np.asarray(groups, np.int64) * self._n + limits)
        base = self._cumulative[low]
        wanted = base + rng.random(len(low)) * (self._cumulative[high] - base)
        at = np.searchsorted(self._cumulative, wanted, side="right") - 1
        drawn = self._rows[np.clip(at, low, np.maximum(high - 1, low)) % self._n]
        return np.where(high > low, drawn, -1)
