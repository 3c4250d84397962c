"""Lists of rows around centroids, for searches that score a part of the rows: the twin of ``row_lists.hpp``.

Centroids, lists and probes are those of C++ to the bit: dot products in its order of summation, sums in
float64 in order of rows, draws from the same stream. O(N·lists·D).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from karec.kernels.portable.arrays import Float32, Float64, Int64
from karec.kernels.portable.rows import dot_rows

MOST_LISTS = 65535
LISTS_PER_ROOT = 4.0  # of the number of works
SAMPLE = 64  # works a list
ROUNDS = 8
_GAMMA, _WORD = 0x9E3779B97F4A7C15, 2**64 - 1
UInt16 = NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class RowLists:
    """model_version  of the vectors that are in lists
    centroids      (n, width) float32, padded with zeros as rows are
    """

    model_version: int
    centroids: Float32

    @property
    def n(self) -> int:
        return len(self.centroids)

    @cached_property
    def half_norms(self) -> Float32:
        """(n,) ½·⟨c, c⟩, summed in order of dimension."""
        with np.errstate(over="ignore"):
            squares = np.cumsum(np.square(self.centroids, dtype=np.float64), axis=1)
            return np.asarray((0.5 * squares[:, -1]).astype(np.float32))

    def nearest(self, vectors: Float32) -> UInt16:
        """(N,) the list whose centroid lies nearest to each of (N, width); of equal ones the lowest."""
        best = np.full(len(vectors), -np.inf, np.float32)
        lists = np.zeros(len(vectors), np.uint16)
        with np.errstate(all="ignore"):
            for at, centroid in enumerate(self.centroids):
                scores = dot_rows(vectors, centroid) - self.half_norms[at]
                better = scores > best
                lists[better], best[better] = at, scores[better]
        return lists

    def probed(self, query: Float32 | None, n_probe: int) -> NDArray[np.bool_]:
        """(n + 1,) whether a search with ``query`` (D,) reads each list; the last is what is in none."""
        found = np.zeros(self.n + 1, np.bool_)
        found[-1] = True
        if query is None:
            return found
        padded = np.zeros(self.centroids.shape[1], np.float32)
        padded[: len(query)] = query
        with np.errstate(all="ignore"):
            dots = dot_rows(self.centroids, padded)
        dots = np.where(np.isnan(dots), np.float32(-np.inf), dots)
        found[np.argsort(-dots, kind="stable")[:n_probe]] = True
        return found


def number_of_lists(wanted: int, works: int, version: int) -> int:
    """0 wants the usual number. ValueError: more than works, or than lists can be."""
    most = min(works, MOST_LISTS)
    if works == 0:
        raise ValueError(f"the index has no works of model version {version} to put into lists")
    if wanted > most:
        raise ValueError(
            f"n_lists is {wanted}, expected 1 to {most}: the index has {works} works of model version "
            f"{version}"
        )
    return wanted or min(int(LISTS_PER_ROOT * np.sqrt(works) + 0.5), most)


def trained_centroids(vectors: Float32, n_lists: int, seed: int) -> Float32:
    """(n_lists, width) by k-means on a sample of (N, width)."""
    stream = _Stream(seed)
    sample = vectors[stream.sampled(len(vectors), min(len(vectors), SAMPLE * n_lists))]
    centroids = sample[stream.sampled(len(sample), n_lists)].copy()
    for _ in range(ROUNDS):
        lists = RowLists(0, centroids).nearest(sample)
        sums, counts = _sums(sample, lists, n_lists)
        centroids = centroids.copy()
        for at in range(n_lists):
            if counts[at]:
                centroids[at] = (sums[at] / counts[at]).astype(np.float32)
            else:
                centroids[at] = sample[int(stream.draws(1)[0] * len(sample))]
                stream.advance(1)
    return centroids


class _Stream:
    """splitmix64, as numbers in [0, 1) of 53 bits."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def draws(self, n: int) -> Float64:
        """The next n numbers; ``advance`` says how many of them were used."""
        steps = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(_GAMMA)
        h = steps + np.uint64(self.state)
        h = (h ^ h >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ h >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return np.asarray(((h ^ h >> np.uint64(31)) >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def advance(self, n: int) -> None:
        self.state = self.state + n * _GAMMA & _WORD

    def sampled(self, n: int, wanted: int) -> Int64:
        """``wanted`` of 0 … n − 1, ascending (selection sampling)."""
        chosen, used = _selected(self.draws(n), wanted)
        self.advance(used)
        return np.asarray(chosen)


@njit(cache=True, nogil=True)
def _selected(draws: Any, wanted: int) -> Any:
    chosen = np.empty(wanted, np.int64)
    found = used = 0
    while used < len(draws) and found < wanted:
        if (len(draws) - used) * draws[used] < wanted - found:
            chosen[found] = used
            found += 1
        used += 1
    return chosen[:found], used


@njit(cache=True, nogil=True)
def _sums(vectors: Any, lists: Any, n_lists: int) -> Any:
    sums = np.zeros((n_lists, vectors.shape[1]))
    counts = np.zeros(n_lists, np.int64)
    for i in range(len(vectors)):
        for d in range(vectors.shape[1]):
            sums[lists[i], d] += np.float64(vectors[i, d])
        counts[lists[i]] += 1
    return sums, counts
