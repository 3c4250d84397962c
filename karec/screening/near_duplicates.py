"""Near-duplicates: works of one song with nearly equal content vectors, of which the best stays.

Algorithm    Random-hyperplane signatures: BANDS of up to BITS signs of a vector's products with fixed random
             directions, about log2(n) + 3 signs for a song of n works, so that few works meet by chance.
             Works of one song with equal signs in a band meet. There the best is compared with all others; it
             and those near it are done, and the best of the rest continues, at most ROUNDS times. Two near
             works are a pair. Finally pairs are read from the best work down: a work is dropped if it pairs
             with a better one that stays. Vectors of songs with at least CENTERED_SIZE works are centered
             first, because they all are close to the song's mean.
Guarantee    A dropped work has a better one of its song that stays, with at least the required cosine.
Recall       Two works with cosine c meet in a band of b signs with probability (1 − arccos(c)/π)^b. At c =
             0.98 that is 0.45 for 12 signs, so 0.99 for eight bands.
Cost         O(N · BANDS · (D + log N)), and rounds over works that meet; 64 bytes per work besides its
             vector.
Source       M. Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BANDS, BITS = 8, 16
ROUNDS = 32
CENTERED_SIZE = 64  # works of a song
BLOCK = 2**16  # rows
EXTRA_SIGNS = 3  # more than log2 of a song's works


def near_duplicates(
    songs: NDArray[Any], vectors: NDArray[Any], quality: NDArray[Any], cosine: float
) -> NDArray[Any]:
    """Returns (N,) bool: dropped. With equal quality the earlier row is the better one.

    Args
      songs     (N,) codes, −1: no song
      vectors   (N, D); zeros or values that are not finite: no vector. Rows without song or vector are not
                compared
      quality   (N,)
      cosine    smallest cosine of near-duplicates
    """
    dropped = np.zeros(len(songs), bool)
    compared = np.flatnonzero(songs >= 0)
    compared = compared[_has_vector(vectors, compared)]
    compared = compared[
        np.argsort(-quality[compared], kind="stable")
    ]  # indices below refer to this order, best first
    groups, sizes = _groups(songs[compared])
    is_single = sizes[groups] < 2
    compared = compared[~is_single]
    if not len(compared):
        return dropped
    groups, sizes = _groups(songs[compared])
    bands = _signatures(vectors, compared, groups, sizes)
    better, worse = _pairs(vectors, compared, groups, bands, cosine)
    dropped[compared[_resolve(len(compared), better, worse)]] = True
    return dropped


def _has_vector(vectors: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    has_vector = np.empty(len(rows), bool)
    for begin in range(0, len(rows), BLOCK):
        block = vectors[rows[begin : begin + BLOCK]].astype(np.float32)
        squares = np.einsum("nd,nd->n", block, block)
        has_vector[begin : begin + BLOCK] = np.isfinite(squares) & (squares > 0)
    return has_vector


def _groups(songs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    _, groups, sizes = np.unique(songs, return_inverse=True, return_counts=True)
    return groups, sizes


def _signatures(
    vectors: NDArray[Any], rows: NDArray[Any], groups: NDArray[Any], sizes: NDArray[Any]
) -> NDArray[Any]:
    """Returns (N, BANDS) int64: group and signs; equal for works that meet."""
    n, dim = len(rows), vectors.shape[1]
    directions = np.random.default_rng(7).standard_normal((dim, BANDS * BITS)).astype(np.float32)
    centre = _centres(vectors, rows, groups, sizes)
    n_signs = np.clip(np.ceil(np.log2(sizes)) + EXTRA_SIGNS, 1, 2 * BITS - 1).astype(np.int64)[groups]
    keys = np.empty((n, BANDS), np.int64)
    for begin in range(0, n, BLOCK):
        part = slice(begin, begin + BLOCK)
        block = _unit(vectors[rows[part]])
        if centre is not None:
            block -= centre[groups[part]]
        signs = np.packbits(block @ directions > 0, axis=1).view(np.uint16).astype(np.int64)
        # songs of very many works need more signs: those of the next band
        signs |= np.roll(signs, 1, axis=1) << BITS
        keys[part] = groups[part, None] << (2 * BITS - 1) | (signs & ((1 << n_signs[part]) - 1)[:, None])
    return keys


def _centres(
    vectors: NDArray[Any], rows: NDArray[Any], groups: NDArray[Any], sizes: NDArray[Any]
) -> NDArray[Any] | None:
    """Returns (G, D): mean unit vectors of groups of CENTERED_SIZE works or more, else 0; or None."""
    if sizes.max() < CENTERED_SIZE:
        return None
    sums = np.zeros((len(sizes), vectors.shape[1]), np.float32)
    large = np.flatnonzero((sizes >= CENTERED_SIZE)[groups])
    large = large[np.argsort(groups[large], kind="stable")]
    for begin in range(0, len(large), BLOCK):
        part = large[begin : begin + BLOCK]
        starts = np.flatnonzero(np.diff(groups[part], prepend=-1))
        sums[groups[part][starts]] += np.add.reduceat(_unit(vectors[rows[part]]), starts, axis=0)
    return np.asarray(sums / sizes[:, None].astype(np.float32))


def _unit(block: NDArray[Any]) -> NDArray[Any]:
    block = block.astype(np.float32)
    block /= np.sqrt(np.einsum("nd,nd->n", block, block))[:, None]
    return block


def _pairs(
    vectors: NDArray[Any], rows: NDArray[Any], groups: NDArray[Any], bands: NDArray[Any], cosine: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the indices of the better and the worse work of each near pair."""
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for band in range(BANDS):
        keys = bands[:, band]
        order = np.argsort(keys, kind="stable")  # best first within a meeting
        pairs += _compare_meetings(vectors, rows, order, keys[order], cosine)
    if not pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    better, worse = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return better, worse


def _compare_meetings(
    vectors: NDArray[Any], rows: NDArray[Any], places: NDArray[Any], keys: NDArray[Any], cosine: float
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yields near pairs of ``places``, sorted by ``keys``; a run of one key is a meeting."""
    for _ in range(ROUNDS):
        starts = np.diff(keys, prepend=keys[0] - 1 if len(keys) else 0) != 0
        meeting = np.cumsum(starts) - 1
        has_others = np.bincount(meeting)[meeting] > 1
        places, keys, starts, meeting = (
            places[has_others],
            keys[has_others],
            starts[has_others],
            meeting[has_others],
        )
        if not len(places):
            return
        leaders = places[starts][np.cumsum(starts) - 1]
        others = ~starts
        is_near = np.zeros(len(places), bool)
        is_near[others] = _cosines(vectors, rows[leaders[others]], rows[places[others]]) >= cosine
        yield leaders[is_near], places[is_near]
        remains = others & ~is_near
        places, keys = places[remains], keys[remains]


def _cosines(vectors: NDArray[Any], one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    cosines = np.empty(len(one), np.float32)
    for begin in range(0, len(one), BLOCK):
        part = slice(begin, begin + BLOCK)
        cosines[part] = np.einsum("nd,nd->n", _unit(vectors[one[part]]), _unit(vectors[other[part]]))
    return cosines


def _resolve(n: int, better: NDArray[Any], worse: NDArray[Any]) -> NDArray[Any]:
    """Returns (D,) indices of dropped works: each pairs with a better one that stays.

    A round decides all works whose better ones are decided, so the number of rounds is the longest chain.
    """
    stays, dropped = np.ones(n, bool), np.zeros(n, bool)
    stays[worse] = False  # not decided yet
    while len(worse):
        dropped[worse[stays[better]]] = True
        is_open = ~dropped[worse] & ~dropped[better]
        better, worse = better[is_open], worse[is_open]
        is_waiting = np.zeros(n, bool)
        is_waiting[worse] = True
        stays = ~dropped & ~is_waiting
    return np.flatnonzero(dropped)
