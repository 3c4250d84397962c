"""Lists of users, in the order (time, number, value) of their entries, whatever order events arrive in.

Algorithm  insert_entries: straight insertion from the newest end. find_present, find_windows: one pass that
           searches a removed value among the present ones.
Cost       insert_entries O(1) for a newest entry, O(later entries) for another, O(entries) with ``is_set``;
           the others O(length of the list) an entry. The GIL is released; the output is the only memory.
Source     D. E. Knuth, The Art of Computer Programming 3, 5.2.1 (straight insertion).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

TIME, NUMBER, VALUE = range(3)  # columns of an entry


@njit(cache=True, nogil=True)
def _is_before(entries: Array, place: int, time: int, number: int, value: int) -> bool:
    """Returns True if the entry is before (time, number, value) or equal."""
    if entries[place, 0] != time:
        return bool(entries[place, 0] < time)
    if entries[place, 1] != number:
        return bool(entries[place, 1] < number)
    return bool(entries[place, 2] <= value)


@njit(cache=True, nogil=True)
def _insert(entries: Array, length: int, new: Array, is_set: bool) -> int:
    """Inserts ``new`` (3,) into ``entries[:length]`` and returns the new length."""
    place = length
    while place > 0 and not _is_before(entries, place - 1, new[0], new[1], new[2]):
        place -= 1
    if is_set:
        for e in range(length):
            if entries[e, 2] == new[2]:
                if e < place:  # The value has an earlier entry.
                    return length
                for last in range(e, place, -1):
                    entries[last] = entries[last - 1]
                entries[place] = new
                return length
    for last in range(length, place, -1):
        entries[last] = entries[last - 1]
    entries[place] = new
    return length + 1


@njit(cache=True, nogil=True)
def insert_entries(
    first: Array, entries: Array, new_first: Array, new: Array, max_length: int, is_set: bool
) -> tuple[Array, Array]:
    """Returns (first, entries) of R lists after ``new`` (E, 3) int64: time, number, value.

    The last ``max_length`` entries of each list are kept. ``is_set``: each value is kept once, at its
    earliest place, and ``max_length`` must be at least the length of any list.
    """
    n_rows = len(first) - 1
    inserted = np.empty((len(entries) + len(new), 3), np.int64)
    bounds = np.zeros(n_rows + 1, np.int64)
    for r in range(n_rows):
        start, length = bounds[r], first[r + 1] - first[r]
        row = inserted[start : start + length + new_first[r + 1] - new_first[r]]
        row[:length] = entries[first[r] : first[r + 1]]
        for n in range(new_first[r], new_first[r + 1]):
            length = _insert(row, length, new[n], is_set)
        if length > max_length:
            for e in range(max_length):
                row[e] = row[length - max_length + e]
            length = max_length
        bounds[r + 1] = start + length
    return bounds, inserted[: bounds[n_rows]]


@njit(cache=True, nogil=True)
def find_present(values: Array) -> Array:
    """Returns the places in ``values`` of the values present at the end.

    v ≥ 0 adds v if it is not present, and ~v removes it.
    """
    kept = np.empty(len(values), np.int64)
    n = 0
    for place in range(len(values)):
        value = values[place] if values[place] >= 0 else ~values[place]
        found = -1
        for k in range(n):
            if values[kept[k]] == value:
                found = k
                break
        if values[place] >= 0 and found < 0:
            kept[n] = place
            n += 1
        elif values[place] < 0 and found >= 0:
            for k in range(found, n - 1):
                kept[k] = kept[k + 1]
            n -= 1
    return kept[:n]


@njit(cache=True, nogil=True)
def find_windows(first: Array, values: Array) -> tuple[Array, Array, Array]:
    """Returns (places, starts, ends): ``places[starts[e]:ends[e]]`` are present after entry e of its row.

    An added value is appended to the present ones; after a removal the others are written again. Memory:
    O(E), and the length of the list for each removal.
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
                larger = np.empty(2 * len(places) + (n - start) + 1, np.int64)
                larger[:n] = places[:n]
                places = larger
            if values[e] >= 0 and found < 0:
                places[n] = e
                n += 1
            elif values[e] < 0 and found >= 0:
                written = n
                for k in range(start, n):
                    if k != found:
                        places[written] = places[k]
                        written += 1
                start, n = n, written
            starts[e], ends[e] = start, n
    return places[:n], starts, ends
