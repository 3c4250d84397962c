"""What both merges of recall channels have in common: what they refuse, and in which turns channels are
walked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Walk = Callable[[int, int, int, int, int, int, int], tuple[int, int]]
"""walk(c, begin, adds, quota, room, most, n) → (works in the output after it, where it was refused room
first).

Walks channel c from ``begin``; ``n`` works are in the output before it. It adds at most ``adds`` works, none
from ``room`` on, and looks at its first ``quota`` alone once ``most`` are there. −1 works: it gave up.
"""

MAX_CHANNELS = 32  # bits of `sources`
MAX_LIMIT = 2**31 - 1  # positions are int32


def checked(what: str, channel: int | str, values: Any, dtype: type[np.generic], casting: Any) -> Array:
    """``values`` as a contiguous (n,) array of ``dtype``; ValueError for another rank, or a dtype that is not
    cast."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.can_cast(array.dtype, dtype, casting)):
        raise ValueError(
            f"{what} of channel {channel} has shape {array.shape} and dtype {array.dtype}, "
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
    """The arguments of a merge, as its docstring wants them. ValueError as it says."""
    n_channels, quotas, limit = len(ids), [int(quota) for quota in quotas], int(limit)
    floors = [0] * n_channels if floors is None else [int(floor) for floor in floors]
    if n_channels > MAX_CHANNELS:
        raise ValueError(f"{n_channels} channels, at most {MAX_CHANNELS} can be told apart in sources")
    if not len(scores) == len(quotas) == len(floors) == n_channels:
        raise ValueError(
            f"{n_channels} lists of ids, {len(scores)} of scores, {len(quotas)} quotas and {len(floors)} "
            "floors: one each per channel"
        )
    if not 0 < limit <= MAX_LIMIT:
        raise ValueError(f"limit must be in 1…{MAX_LIMIT}, got {limit}")
    ids = [checked("ids", c, values, np.int64, "safe") for c, values in enumerate(ids)]
    scores = [checked("scores", c, values, np.float32, "same_kind") for c, values in enumerate(scores)]
    given = [None] * n_channels if rows is None else list(rows)
    if len(given) != n_channels:
        raise ValueError(f"{n_channels} lists of ids and {len(given)} of rows: one each per channel")
    whole = [
        np.full(len(ids[c]), -1, np.int32) if values is None else checked("rows", c, values, np.int32, "safe")
        for c, values in enumerate(given)
    ]
    for c in range(n_channels):
        for name, values in (("scores", scores[c]), ("rows", whole[c])):
            if len(ids[c]) != len(values):
                raise ValueError(
                    f"channel {c}: ids has shape {ids[c].shape}, {name} has shape {values.shape}"
                )
        if quotas[c] < 0:
            raise ValueError(f"the quota of channel {c} must not be negative, got {quotas[c]}")
        if not 0 <= floors[c] <= quotas[c]:
            raise ValueError(f"the floor of channel {c} must be in 0…{quotas[c]}, its quota, got {floors[c]}")
    if sum(floors) > limit:
        raise ValueError(f"the floors sum to {sum(floors)}, the limit is {limit}")
    return ids, scores, whole, quotas, limit, floors


def most_merged(lengths: Sequence[int], quotas: Sequence[int], limit: int) -> int:
    return min(limit, sum(map(min, lengths, quotas)))


def filled(
    walk: Walk, lengths: Sequence[int], quotas: Sequence[int], limit: int, floors: Sequence[int], n: int
) -> int:
    """How many works are in the output, ``n`` of them at first, once each channel had its turn.

    A channel stops adding where only floors of other channels have room; where it did, it goes on in a second
    turn. −1: a walk gave up.
    """
    takes, kept = list(map(min, quotas, lengths)), list(map(min, floors, lengths))
    begins, left = [0] * len(lengths), list(takes)
    free, most = limit - sum(kept), n + limit  # free: places that no floor keeps
    for again in (False, True):
        for c, length in enumerate(lengths):
            if again and begins[c] == length:
                continue
            before, room = n, most if again else n + free + kept[c]
            n, refused = walk(c, begins[c], left[c], takes[c], room, most, n)
            if n < 0:
                return n
            begins[c], left[c], free = refused, left[c] - (n - before), free - max(n - before - kept[c], 0)
        if not any(floors):
            break
    return n
