"""Checks the arguments of both merges of sources, and decides in which order they walk the sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Walk = Callable[[int, int, int, int, int, int, int], tuple[int, int]]
"""walk(c, begin, max_added, quota, capacity, limit, n) → (items in the output, first place without room).

Walks source c from place ``begin``; ``n`` items are in the output before it. It adds at most ``max_added``
items and none at output place ``capacity`` or later. Once the output has ``limit`` items, it reads only the
first ``quota`` places. −1 items: the walk gave up.
"""

MAX_CHANNELS = 32  # bits of ``sources``
MAX_LIMIT = 2**31 - 1  # positions are int32


def checked(name: str, source: int | str, values: Any, dtype: type[np.generic], casting: Any) -> Array:
    """Returns ``values`` as a contiguous (n,) array of ``dtype``. ValueError for another rank or dtype."""
    array = np.asarray(values)
    if array.ndim != 1 or (
        array.dtype != dtype and array.size and not np.can_cast(array.dtype, dtype, casting)
    ):
        raise ValueError(
            f"{name} of source {source} has shape {array.shape} and dtype {array.dtype}, "
            f"expected (n,) {dtype.__name__}"
        )
    return np.ascontiguousarray(array, dtype=dtype)


def checked_channels(
    ids: Sequence[Array],
    scores: Sequence[Array],
    rows: Sequence[Array | None] | None,
    quotas: Sequence[int],
    limit: int,
    floors: Sequence[int] | None,
) -> tuple[list[Array], list[Array], list[Array], list[int], int, list[int]]:
    """Returns the arguments of a merge with the types of its docstring. ValueError if one is invalid."""
    n_channels = len(ids)
    quotas = [int(quota) for quota in quotas]
    limit = int(limit)
    floors = [0] * n_channels if floors is None else [int(floor) for floor in floors]
    if n_channels > MAX_CHANNELS:
        raise ValueError(f"{n_channels} sources, expected at most {MAX_CHANNELS}")
    if not len(scores) == len(quotas) == len(floors) == n_channels:
        raise ValueError(
            f"{n_channels} lists of ids, {len(scores)} of scores, {len(quotas)} quotas and {len(floors)} "
            "floors, expected one for each source"
        )
    if not 0 < limit <= MAX_LIMIT:
        raise ValueError(f"limit must be in 1…{MAX_LIMIT}, got {limit}")
    ids = [checked("ids", c, values, np.int64, "safe") for c, values in enumerate(ids)]
    scores = [checked("scores", c, values, np.float32, "same_kind") for c, values in enumerate(scores)]
    row_lists = [None] * n_channels if rows is None else list(rows)
    if len(row_lists) != n_channels:
        raise ValueError(
            f"{n_channels} lists of ids and {len(row_lists)} of rows, expected one for each source"
        )
    all_rows = [
        np.full(len(ids[c]), -1, np.int32) if values is None else checked("rows", c, values, np.int32, "safe")
        for c, values in enumerate(row_lists)
    ]
    for c in range(n_channels):
        for name, values in (("scores", scores[c]), ("rows", all_rows[c])):
            if len(ids[c]) != len(values):
                raise ValueError(f"source {c}: ids has shape {ids[c].shape}, {name} has shape {values.shape}")
        if quotas[c] < 0:
            raise ValueError(f"the quota of source {c} must not be negative, got {quotas[c]}")
        if not 0 <= floors[c] <= quotas[c]:
            raise ValueError(f"the floor of source {c} must be in 0…{quotas[c]}, its quota, got {floors[c]}")
    if sum(floors) > limit:
        raise ValueError(f"the floors sum to {sum(floors)}, the limit is {limit}")
    return ids, scores, all_rows, quotas, limit, floors


def most_merged(lengths: Sequence[int], quotas: Sequence[int], limit: int) -> int:
    return min(limit, sum(map(min, lengths, quotas)))


def filled(
    walk: Walk, lengths: Sequence[int], quotas: Sequence[int], limit: int, floors: Sequence[int], n: int
) -> int:
    """Walks all sources and returns the number of items in the output, −1 if a walk gave up.

    The output has ``n`` items before. A source stops where only places reserved by floors of other sources
    are free, and continues there in a second turn.
    """
    quotas = list(map(min, quotas, lengths))
    reserved = list(map(min, floors, lengths))
    begins, left = [0] * len(lengths), list(quotas)
    n_free = limit - sum(reserved)
    limit += n
    for is_second_turn in (False, True):
        for c, length in enumerate(lengths):
            if is_second_turn and begins[c] == length:
                continue
            n_before = n
            capacity = limit if is_second_turn else n + n_free + reserved[c]
            n, begins[c] = walk(c, begins[c], left[c], quotas[c], capacity, limit, n)
            if n < 0:
                return n
            n_added = n - n_before
            left[c] -= n_added
            n_free -= max(n_added - reserved[c], 0)
        if not any(floors):
            break
    return n
