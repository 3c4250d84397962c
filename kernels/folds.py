"""Folds of events over rows (users, works): grouping, "strictly before", and counters.

Algorithm  grouped: a stable counting sort by row. strictly_before: in each row a bisection that starts where
           the last query of the row ended, so that queries in order of time walk. places_passed,
           counts_passed, faded_counts: events and queries, both in order of time, are swept at once; only
           what each row holds now is touched. running_counts: one pass in order of rows.
Cost       grouped O(M + R); strictly_before O(log of the distance walked) a query; the sweeps O(M + N), times
           C for counts and, of queries, times the days for those that fade. The GIL is released; memory is
           the output.
Source     D. E. Knuth, The Art of Computer Programming 3, 5.2 (distribution counting).
           J. L. Bentley, A. C.-C. Yao, An almost optimal algorithm for unbounded searching, IPL 1976
           (doubling steps).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def grouped(rows: Array, n_rows: int) -> tuple[Array, Array]:
    """(first (n_rows + 1,), order): ``order[first[r]:first[r + 1]]`` are the places of row r, in order; rows
    < 0 are left out.
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
    """(N,) int64: of row ``rows[n]``, whose ascending ``times`` lie at first[r] … first[r + 1], the place
    behind the last one that is < ``as_of[n]``; 0 for a row < 0.
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
    """(N,) int64: ``begin[rows[n]]`` and one for each event of the row before ``as_of[n]``; both sides in
    order of time.
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
    """(N, C) float32: ``start (R, C)`` of each row and what ``added (M, C)`` adds before ``as_of``; both
    sides in order of time. A query of a row < 0 gets 0; an event of one adds nothing.
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
    """(len(order) + 1, C) int32: sums of ``added (M, C) uint8`` over the events before each place of
    ``order``."""
    running = np.zeros((len(order) + 1, added.shape[1]), np.int32)
    for at in range(len(order)):
        for c in range(added.shape[1]):
            running[at + 1, c] = running[at, c] + added[order[at], c]
    return running


@njit(cache=True, nogil=True)
def counts_at(start: Array, running: Array, first: Array, ends: Array, rows: Array) -> Array:
    """(N, C) float32: ``start (R, C)`` of each row and what ``running`` adds up to its ``ends``; 0 for a row
    < 0."""
    counts = np.zeros((len(rows), start.shape[1]), np.float32)
    for n in range(len(rows)):
        r = rows[n]
        if r >= 0:
            for c in range(start.shape[1]):
                counts[n, c] = np.float64(start[r, c]) + (running[ends[n], c] - running[first[r], c])
    return counts


@njit(cache=True, nogil=True)
def add_counts(state: Array, rows: Array, added: Array) -> None:
    """Adds ``added (M, C)`` to the rows ``rows (M,)`` of ``state (R, C) float64``; what is of a row < 0 is
    added nowhere.
    """
    for e in range(len(rows)):
        if rows[e] >= 0:
            for c in range(added.shape[1]):
                state[rows[e], c] += added[e, c]


@njit(cache=True, nogil=True)
def faded_counts(
    n_rows: int,
    event_rows: Array,
    event_days: Array,
    event_times: Array,
    added: Array,
    rows: Array,
    as_of: Array,
    weights: Array,
) -> Array:
    """(N, C) float32: Σ over the last days of what ``added (M, C)`` adds before ``as_of``, times ``weights``
    by age in days; both sides in order of time. A ring of days for each row: O(M·C + N·C·days), memory
    4·days·C bytes a row.
    """
    n_days, n_counters = len(weights), added.shape[1]
    ring = np.zeros((n_rows, n_days, n_counters), np.int32)
    newest = np.full(n_rows, -(1 << 60), np.int64)
    counts = np.zeros((len(rows), n_counters), np.float32)
    sums = np.empty(n_counters)
    e = 0
    for n in range(len(rows)):
        while e < len(event_times) and event_times[e] < as_of[n]:
            r, day = event_rows[e], event_days[e]
            if r >= 0:
                for passed in range(max(newest[r] + 1, day - n_days + 1), day + 1):
                    ring[r, passed % n_days] = 0
                newest[r] = max(newest[r], day)
                for c in range(n_counters):
                    ring[r, day % n_days, c] += added[e, c]
            e += 1
        r, today = rows[n], as_of[n] // 86_400_000
        if r >= 0:
            sums[:] = 0.0
            for age in range(n_days - 1, -1, -1):
                day = today - age
                if newest[r] - n_days < day <= newest[r]:
                    for c in range(n_counters):
                        sums[c] += ring[r, day % n_days, c] * weights[age]
            for c in range(n_counters):
                counts[n, c] = sums[c]
    return counts
