"""Works of one song whose content vectors are nearly the same: of each such set the best stays.

Algorithm  Random-hyperplane signatures: BANDS of up to BITS signs of a vector's products with fixed random
           directions, about log2(n) + 3 signs for a song of n works, so that few works meet by chance. Works
           of one song with the same signs in a band meet. There the best is compared with all the others; it
           and those that are near it are done, and the best of the rest goes on, ROUNDS times at most. Two
           works that were near are a pair. At the end pairs are read from the best work down: a work is
           dropped when it pairs with a better one that stays. Vectors of a song of MANY works or more are
           first centred, for they all lie around the song's mean.
Holds      A dropped work has a better one of its song, which stays, with at least the cosine that is asked
           for.
Finds      Not all: two works with cosine c meet in a band of b signs with chance (1 − arccos(c)/π)^b. At c =
           0.98 that is 0.45 for 12 signs, so of eight bands 0.99.
Cost       O(N · BANDS · (D + log N)), and rounds over those that met; 64 bytes a work beside its vector.
Source     M. Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BANDS, BITS = 8, 16
ROUNDS = 32
MANY = 64  # works
BLOCK = 2**16  # rows
SPARE = 3  # signs more than log2 of a song's works


def near_duplicates(
    songs: NDArray[Any], vectors: NDArray[Any], quality: NDArray[Any], cosine: float
) -> NDArray[Any]:
    """(N,) bool: dropped. ``songs (N,)`` codes, −1: of no song; ``vectors (N, D)``, a row of zeros, or one
    that is not finite, is no vector: neither kind is compared. Of equal ``quality (N,)`` the earlier row is
    the better.
    """
    dropped = np.zeros(len(songs), bool)
    compared = np.flatnonzero(songs >= 0)
    compared = compared[_has_vector(vectors, compared)]
    compared = compared[np.argsort(-quality[compared], kind="stable")]  # from here on, by place: best first
    groups, sizes = _groups(songs[compared])
    alone = sizes[groups] < 2
    compared = compared[~alone]
    if not len(compared):
        return dropped
    groups, sizes = _groups(songs[compared])
    bands = _signatures(vectors, compared, groups, sizes)
    better, worse = _pairs(vectors, compared, groups, bands, cosine)
    dropped[compared[_resolve(len(compared), better, worse)]] = True
    return dropped


def _has_vector(vectors: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    there = np.empty(len(rows), bool)
    for at in range(0, len(rows), BLOCK):
        block = vectors[rows[at : at + BLOCK]].astype(np.float32)
        squares = np.einsum("nd,nd->n", block, block)
        there[at : at + BLOCK] = np.isfinite(squares) & (squares > 0)
    return there


def _groups(songs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(group of each work, works of each group)."""
    _, groups, sizes = np.unique(songs, return_inverse=True, return_counts=True)
    return groups, sizes


def _signatures(
    vectors: NDArray[Any], rows: NDArray[Any], groups: NDArray[Any], sizes: NDArray[Any]
) -> NDArray[Any]:
    """(N, BANDS) int64: the group and the signs; equal where works meet."""
    n, dim = len(rows), vectors.shape[1]
    directions = np.random.default_rng(7).standard_normal((dim, BANDS * BITS)).astype(np.float32)
    centre = _centres(vectors, rows, groups, sizes)
    wanted = np.clip(np.ceil(np.log2(sizes)) + SPARE, 1, 2 * BITS - 1).astype(np.int64)[groups]
    keys = np.empty((n, BANDS), np.int64)
    for at in range(0, n, BLOCK):
        part = slice(at, at + BLOCK)
        block = _unit(vectors[rows[part]])
        if centre is not None:
            block -= centre[groups[part]]
        signs = np.packbits(block @ directions > 0, axis=1).view(np.uint16).astype(np.int64)
        # more signs for a song of very many works: the next band's
        signs |= np.roll(signs, 1, axis=1) << BITS
        keys[part] = groups[part, None] << (2 * BITS - 1) | (signs & ((1 << wanted[part]) - 1)[:, None])
    return keys


def _centres(
    vectors: NDArray[Any], rows: NDArray[Any], groups: NDArray[Any], sizes: NDArray[Any]
) -> NDArray[Any] | None:
    """(G, D) the mean unit vector of each group of MANY works or more, zeros for the others."""
    if sizes.max() < MANY:
        return None
    sums = np.zeros((len(sizes), vectors.shape[1]), np.float32)
    large = np.flatnonzero((sizes >= MANY)[groups])
    large = large[np.argsort(groups[large], kind="stable")]
    for at in range(0, len(large), BLOCK):
        part = large[at : at + BLOCK]
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
    """Places of (the better, the worse) of each pair that is near, band by band."""
    found: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for band in range(BANDS):
        keys = bands[:, band]
        order = np.argsort(keys, kind="stable")  # within a meeting, best first
        found += _of_meetings(vectors, rows, order, keys[order], cosine)
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    better, worse = (np.concatenate(each) for each in zip(*found, strict=True))
    return better, worse


def _of_meetings(
    vectors: NDArray[Any], rows: NDArray[Any], places: NDArray[Any], keys: NDArray[Any], cosine: float
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """``places`` by ``keys``; a run of one key is a meeting."""
    for _ in range(ROUNDS):
        starts = np.diff(keys, prepend=keys[0] - 1 if len(keys) else 0) != 0
        meeting = np.cumsum(starts) - 1
        company = np.bincount(meeting)[meeting] > 1
        places, keys, starts, meeting = places[company], keys[company], starts[company], meeting[company]
        if not len(places):
            return
        leaders = places[starts][np.cumsum(starts) - 1]
        others = ~starts
        near = np.zeros(len(places), bool)
        near[others] = _cosines(vectors, rows[leaders[others]], rows[places[others]]) >= cosine
        yield leaders[near], places[near]
        left = others & ~near
        places, keys = places[left], keys[left]


def _cosines(vectors: NDArray[Any], one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    found = np.empty(len(one), np.float32)
    for at in range(0, len(one), BLOCK):
        part = slice(at, at + BLOCK)
        found[part] = np.einsum("nd,nd->n", _unit(vectors[one[part]]), _unit(vectors[other[part]]))
    return found


def _resolve(n: int, better: NDArray[Any], worse: NDArray[Any]) -> NDArray[Any]:
    """(D,) places that are dropped: each pairs with a better one that is not.

    A round settles every work whose better ones are settled, so there are as many as the longest chain is
    long.
    """
    stays, dropped = np.ones(n, bool), np.zeros(n, bool)
    stays[worse] = False  # not settled yet
    while len(worse):
        dropped[worse[stays[better]]] = True
        open_ = ~dropped[worse] & ~dropped[better]
        better, worse = better[open_], worse[open_]
        waiting = np.zeros(n, bool)
        waiting[worse] = True
        stays = ~dropped & ~waiting
    return np.flatnonzero(dropped)
