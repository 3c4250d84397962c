"""Lists that events change: a state is kept in order of (time, number, value), and read as what is present.

Algorithm  step_lists: an entry is inserted from the newest end. present, windows: one pass; a value that is
           taken out is sought in what is present.
Cost       step_lists O(1) for the newest entry, O(entries after it) for another, O(entries) where a value
           enters once; present and windows O(length of the list) an entry. The GIL is released; memory is the
           output.
Source     D. E. Knuth, The Art of Computer Programming 3, 5.2.1 (straight insertion).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

TIME, NUMBER, VALUE = range(3)  # the columns of an entry


@njit(cache=True, nogil=True)
def _before(entries: Array, at: int, time: int, number: int, value: int) -> bool:
    """Whether entry ``at`` is before (time, number, value) or the same."""
    if entries[at, 0] != time:
        return bool(entries[at, 0] < time)
    if entries[at, 1] != number:
        return bool(entries[at, 1] < number)
    return bool(entries[at, 2] <= value)


@njit(cache=True, nogil=True)
def _step(entries: Array, length: int, new: Array, once: bool) -> int:
    """Inserts ``new (3,)`` into ``entries[:length]``; the length afterwards."""
    at = length
    while at > 0 and not _before(entries, at - 1, new[0], new[1], new[2]):
        at -= 1
    if once:
        for e in range(length):
            if entries[e, 2] == new[2]:
                if e < at:  # it entered earlier
                    return length
                for back in range(e, at, -1):
                    entries[back] = entries[back - 1]
                entries[at] = new
                return length
    for back in range(length, at, -1):
        entries[back] = entries[back - 1]
    entries[at] = new
    return length + 1


@njit(cache=True, nogil=True)
def step_lists(
    first: Array, entries: Array, new_first: Array, new: Array, keep: int, once: bool
) -> tuple[Array, Array]:
    """(first, entries) of R lists after ``new`` entries, (E, 3) int64 of time, number, value; of each the
    last ``keep`` stay.

    ``once``: each value stands once, at its earliest place, and ``keep`` must be as large as any list.
    """
    n_rows = len(first) - 1
    stepped = np.empty((len(entries) + len(new), 3), np.int64)
    bounds = np.zeros(n_rows + 1, np.int64)
    for r in range(n_rows):
        start, length = bounds[r], first[r + 1] - first[r]
        mine = stepped[start : start + length + new_first[r + 1] - new_first[r]]
        mine[:length] = entries[first[r] : first[r + 1]]
        for n in range(new_first[r], new_first[r + 1]):
            length = _step(mine, length, new[n], once)
        if length > keep:
            for e in range(keep):
                mine[e] = mine[length - keep + e]
            length = keep
        bounds[r + 1] = start + length
    return bounds, stepped[: bounds[n_rows]]


@njit(cache=True, nogil=True)
def present(values: Array) -> Array:
    """The places in ``values`` of what is present after all of them: v ≥ 0 enters where it is not present,
    and ~v takes it out.
    """
    kept = np.empty(len(values), np.int64)
    n = 0
    for at in range(len(values)):
        value = values[at] if values[at] >= 0 else ~values[at]
        found = -1
        for k in range(n):
            if values[kept[k]] == value:
                found = k
                break
        if values[at] >= 0 and found < 0:
            kept[n] = at
            n += 1
        elif values[at] < 0 and found >= 0:
            for k in range(found, n - 1):
                kept[k] = kept[k + 1]
            n -= 1
    return kept[:n]


@njit(cache=True, nogil=True)
def windows(first: Array, values: Array) -> tuple[Array, Array, Array]:
    """(places, starts, ends): ``places[starts[e]:ends[e]]`` is what is present once entry e of its row has
    happened.

    What enters is written behind what is present; after a value was taken out, the rest is written anew.
    Memory: O(E) and, for each value that is taken out, the length of its list.
    """
    places = np.empty(len(values) + 1, np.int64)
    starts, ends = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    n = 0
    for r in range(len(first) - 1):
        start = n
        for e in range(first[r], first[r + 1]):
            value = values[e] if values[e] >= 0 else ~values[e]
            found = -1
            for k in range(start, n):
                if values[places[k]] == value:
                    found = k
                    break
            if n + (n - start) + 1 > len(places):
                more = np.empty(2 * len(places) + (n - start) + 1, np.int64)
                more[:n] = places[:n]
                places = more
            if values[e] >= 0 and found < 0:
                places[n] = e
                n += 1
            elif values[e] < 0 and found >= 0:
                again = n
                for k in range(start, n):
                    if k != found:
                        places[again] = places[k]
                        again += 1
                start, n = n, again
            starts[e], ends[e] = start, n
    return places[:n], starts, ends
