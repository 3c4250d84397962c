"""Cross features, as ``native/src/features/crosses.hpp`` defines them, in NumPy.

Cosines of co-watch vectors may differ from C++'s in the last bits: the sums are NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from karec.kernels.portable.arrays import Float32, Int64, dims_of, float32_input, int64_input
from karec.kernels.portable.numbers import log1p

Cowatch = tuple[ArrayLike, ...]


def crosses(
    history: ArrayLike,
    skipped: ArrayLike,
    follows: ArrayLike,
    friends: ArrayLike,
    alike: ArrayLike,
    shared: ArrayLike,
    items: ArrayLike,
    creator: int,
    cowatch: Cowatch | None,
) -> Float32:
    codes = int64_input(items, "items", ("N", "I"))
    n, width = codes.shape
    users = 1 if dims_of(history)[:1] == (1,) else n
    because = f"items has shape {codes.shape}"
    lists = [
        int64_input(each, name, (users, axis, width), because)
        for each, name, axis in ((history, "history", "H"), (skipped, "skipped", "S"))
    ]
    edges = [
        int64_input(each, name, (users, "L"), because)
        for each, name in ((follows, "follows"), (friends, "friends"))
    ]
    columns = int64_input(shared, "shared", ("P",))
    same = int64_input(alike, "alike", (users, len(columns)), because)
    if not width:
        raise ValueError("items have no categories")
    if creator >= width or ((columns < 0) | (columns >= width)).any():
        raise ValueError(f"a column lies outside of items {codes.shape}")
    counts, newest = zip(*(_matches(each, codes) for each in lists), strict=True)
    parts: list[Any] = [*counts, *newest]
    if creator >= 0:
        made_by = codes[:, [creator]]
        parts += [((each == made_by) & (made_by > 0)).any(axis=1, keepdims=True) for each in edges]
    of_items = codes[:, columns]
    parts.append((same == of_items) & (of_items > 0))
    if cowatch is not None:
        parts.append(_cowatch(cowatch, users, n, [each.shape[1] for each in lists]))
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _matches(lists: Int64, codes: Int64) -> tuple[Float32, Float32]:
    """(N, I) each: ln(1 + how many slots hold the item's code), and 1 / (1 + place of the first one) or 0."""
    counts, newest = np.zeros(codes.shape, np.int64), np.zeros(codes.shape, np.float32)
    for place in range(lists.shape[1] - 1, -1, -1):
        held = (lists[:, place] == codes) & (codes != 0)
        counts += held
        newest[held] = np.float32(1) / np.float32(1 + place)
    return log1p(counts.ravel()).astype(np.float32).reshape(codes.shape), newest


def _cowatch(cowatch: Cowatch, users: int, n: int, lengths: Sequence[int]) -> Float32:
    parts = tuple(cowatch)
    if len(parts) != 4:
        raise ValueError(f"cowatch has {len(parts)} parts, expected 4 arrays")
    vectors = float32_input(parts[0], "vectors", ("K", "D"))
    history = int64_input(parts[1], "history_cowatch", (users, lengths[0]))
    skipped = int64_input(parts[2], "skipped_cowatch", (users, lengths[1]))
    works = int64_input(parts[3], "cowatch", (n,))
    if not vectors.shape[1]:
        raise ValueError("the width of vectors must be positive, got 0")
    for rows in (history, skipped, works) if n else ():
        outside = rows[(rows < 0) | (rows >= len(vectors))]
        if len(outside):
            raise ValueError(f"a row of the co-watch vectors is {outside[0]}")
    best = np.full(n, -np.inf, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity pass through
        for place in range(history.shape[1]):
            rows = np.broadcast_to(history[:, place], n)
            cosines = np.einsum("nd,nd->n", vectors[rows], vectors[works])
            best = np.where(rows > 0, np.maximum(best, cosines), best)
        best = np.where((history > 0).any(axis=1), best, np.float32(0))
        means = [
            np.einsum(
                "nd,nd->n", np.broadcast_to(_mean(vectors, rows), (n, vectors.shape[1])), vectors[works]
            )
            for rows in (history, skipped)
        ]
    found = np.stack([best, *means], axis=1)
    found[works == 0] = 0
    return np.asarray(found, np.float32)


def _mean(vectors: Float32, rows: Int64) -> Float32:
    """(U, D): of the rows > 0 of each list; 0 where there are none."""
    total = np.zeros((len(rows), vectors.shape[1]))
    for place in range(rows.shape[1]):
        total += np.where(rows[:, [place]] > 0, vectors[rows[:, place]], 0.0)
    return np.asarray(total / np.maximum((rows > 0).sum(axis=1, keepdims=True), 1), np.float32)
