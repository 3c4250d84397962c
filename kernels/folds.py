"""Folds of events over rows (users, works): grouping, "strictly before", counters, and lists that events change.

Algorithm  grouped: a stable counting sort by row. strictly_before: in each row a bisection that starts where the last
           query of the row ended, so that queries in order of time walk. places_passed, counts_passed: events and
           queries, both in order of time, are swept at once; only what each row holds now is touched. running_counts:
           one pass in order of rows. step_lists: a list is kept in order of (time, number, value); an entry is inserted
           from the end.
Cost       grouped O(M + R); strictly_before O(log of the distance walked) a query; the sweeps O(M + N), times C for
           counts; step_lists O(1) for the newest entry, O(entries after it) for another, O(entries) where a value
           enters once; present and windows O(length of the list) an entry.
           The GIL is released; memory is the output.
Source     D. E. Knuth, The Art of Computer Programming 3, 5.2 (distribution counting), 5.2.1 (straight insertion).
           J. L. Bentley, A. C.-C. Yao, An almost optimal algorithm for unbounded searching, IPL 1976 (doubling steps).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

TIME, NUMBER, VALUE = range(3)  # the columns of an entry


@njit(cache=True, nogil=True)
def grouped(rows: Array, n_rows: int) -> tuple[Array, Array]:
    """(first (n_rows + 1,), order): ``order[first[r]:first[r + 1]]`` are the places of row r, in order; rows < 0 are
    left out.
    """
    first = np.zeros(n_rows + 1, np.int64)
    for n in range(len(rows)):
        if rows[n] >= 0:
            first[rows[n] + 1] += 1
    for r in range(n_rows):
        first[r + 1] += first[r]
    order = np.empty(first[n_rows], np.int64)
    place = first[:-1].copy()
    for n in range(len(rows)):
        r = rows[n]
        if r >= 0:
            order[place[r]] = n
            place[r] += 1
    return first, order


@njit(cache=True, nogil=True)
def strictly_before(first: Array, times: Array, rows: Array, as_of: Array) -> Array:
    """(N,) int64: of row ``rows[n]``, whose ascending ``times`` lie at first[r] … first[r + 1], the place behind the
    last one that is < ``as_of[n]``; 0 for a row < 0.
    """
    hints = first[:-1].copy()
    ends = np.zeros(len(rows), np.int64)
    for n in range(len(rows)):
        r = rows[n]
        if r < 0:
            continue
        low, high, moment = hints[r], first[r + 1], as_of[n]
        if low > first[r] and times[low - 1] >= moment:  # the query goes back in time
            low, high = first[r], low - 1
        else:
            step = 1
            while low + step <= high and times[low + step - 1] < moment:
                low += step
                step *= 2
            high = min(high, low + step - 1)
        while low < high:
            middle = (low + high) // 2
            if times[middle] < moment:
                low = middle + 1
            else:
                high = middle
        hints[r] = ends[n] = low
    return ends


@njit(cache=True, nogil=True)
def places_passed(begin: Array, event_rows: Array, event_times: Array, rows: Array, as_of: Array) -> Array:
    """(N,) int64: ``begin[rows[n]]`` and one for each event of the row before ``as_of[n]``; both sides in order of
    time.
    """
    now = begin.copy()
    ends = np.empty(len(rows), np.int64)
    e = 0
    for n in range(len(rows)):
        while e < len(event_times) and event_times[e] < as_of[n]:
            now[event_rows[e]] += 1
            e += 1
        ends[n] = now[rows[n]]
    return ends


@njit(cache=True, nogil=True)
def counts_passed(
    start: Array, event_rows: Array, event_times: Array, added: Array, rows: Array, as_of: Array
) -> Array:
    """(N, C) float32: ``start (R, C)`` of each row and what ``added (M, C)`` adds before ``as_of``; both sides in order
    of time. A query of a row < 0 gets 0; an event of one adds nothing.
    """
    n_counters = start.shape[1]
    now = np.zeros(start.shape, np.int32)
    counts = np.zeros((len(rows), n_counters), np.float32)
    e = 0
    for n in range(len(rows)):
        while e < len(event_times) and event_times[e] < as_of[n]:
            if event_rows[e] >= 0:
                for c in range(n_counters):
                    now[event_rows[e], c] += added[e, c]
            e += 1
        if rows[n] >= 0:
            for c in range(n_counters):
                counts[n, c] = np.float64(start[rows[n], c]) + now[rows[n], c]
    return counts


@njit(cache=True, nogil=True)
def running_counts(order: Array, added: Array) -> Array:
    """(len(order) + 1, C) int32: sums of ``added (M, C) uint8`` over the events before each place of ``order``."""
    running = np.zeros((len(order) + 1, added.shape[1]), np.int32)
    for at in range(len(order)):
        for c in range(added.shape[1]):
            running[at + 1, c] = running[at, c] + added[order[at], c]
    return running


@njit(cache=True, nogil=True)
def counts_at(start: Array, running: Array, first: Array, ends: Array, rows: Array) -> Array:
    """(N, C) float32: ``start (R, C)`` of each row and what ``running`` adds up to its ``ends``; 0 for a row < 0."""
    counts = np.zeros((len(rows), start.shape[1]), np.float32)
    for n in range(len(rows)):
        r = rows[n]
        if r >= 0:
            for c in range(start.shape[1]):
                counts[n, c] = np.float64(start[r, c]) + (running[ends[n], c] - running[first[r], c])
    return counts


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
    """(first, entries) of R lists after ``new`` entries, (E, 3) int64 of time, number, value; of each the last ``keep``
    stay.

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
    """The places in ``values`` of what is present after all of them: v ≥ 0 enters where it is not present, and ~v takes
    it out.
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
    """(places, starts, ends): ``places[starts[e]:ends[e]]`` is what is present once entry e of its row has happened.

    What enters is written behind what is present; after a value was taken out, the rest is written anew. Memory: O(E)
    and, for each value that is taken out, the length of its list.
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


@njit(cache=True, nogil=True)
def add_counts(state: Array, rows: Array, added: Array) -> None:
    """Adds ``added (M, C)`` to the rows ``rows (M,)`` of ``state (R, C) float64``; what is of a row < 0 is added
    nowhere.
    """
    for e in range(len(rows)):
        if rows[e] >= 0:
            for c in range(added.shape[1]):
                state[rows[e], c] += added[e, c]
