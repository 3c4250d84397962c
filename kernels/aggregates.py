"""Aggregates of events by row (user or item): grouping, point-in-time lookup and counters.

Algorithm  group_by_row: stable counting sort. find_ends_before: for each row a doubling search from where the
           row's last query ended, so queries in time order are fast. The ``sweep_`` functions: one pass over
           events and queries, both in time order, that only touches the current state of each row.
Cost       group_by_row O(M + R); find_ends_before O(log of the distance to the last query) a query; sweeps
           O(M + N), times C for counters. The GIL is released; the output is the only memory.
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
def group_by_row(rows: Array, n_rows: int) -> tuple[Array, Array]:
    """Returns first (n_rows + 1,) and order: ``order[first[r]:first[r + 1]]`` are the ascending places of row
    r. Rows < 0 are ignored.
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
def find_ends_before(first: Array, times: Array, rows: Array, as_of: Array) -> Array:
    """Returns (N,) int64: the end of the events of row ``rows[n]`` with time < ``as_of[n]``; 0 for a row < 0.

    ``times[first[r]:first[r + 1]]`` are the ascending times of row r.
    """
    hints = first[:-1].copy()
    ends = np.zeros(len(rows), np.int64)
    for n in range(len(rows)):
        r = rows[n]
        if r < 0:
            continue
        low, high, moment = hints[r], first[r + 1], as_of[n]
        if low > first[r] and times[low - 1] >= moment:  # This query is earlier than the last one of the row.
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
def sweep_ends(begin: Array, event_rows: Array, event_times: Array, rows: Array, as_of: Array) -> Array:
    """Returns (N,) int64: ``begin[rows[n]]`` + the number of events of the row before ``as_of[n]``.

    Events and queries are in time order.
    """
    current = begin.copy()
    ends = np.empty(len(rows), np.int64)
    e = 0
    for n in range(len(rows)):
        while e < len(event_times) and event_times[e] < as_of[n]:
            current[event_rows[e]] += 1
            e += 1
        ends[n] = current[rows[n]]
    return ends


@njit(cache=True, nogil=True)
def sweep_counts(
    start: Array, event_rows: Array, event_times: Array, added: Array, rows: Array, as_of: Array
) -> Array:
    """Returns (N, C) float32: ``start`` (R, C) of each row + the sum of ``added`` (M, C) before ``as_of``.

    Events and queries are in time order. A query of a row < 0 gets 0; an event of a row < 0 adds nothing.
    """
    n_counters = start.shape[1]
    sums = np.zeros(start.shape, np.int32)
    counts = np.zeros((len(rows), n_counters), np.float32)
    e = 0
    for n in range(len(rows)):
        while e < len(event_times) and event_times[e] < as_of[n]:
            if event_rows[e] >= 0:
                for c in range(n_counters):
                    sums[event_rows[e], c] += added[e, c]
            e += 1
        if rows[n] >= 0:
            for c in range(n_counters):
                counts[n, c] = np.float64(start[rows[n], c]) + sums[rows[n], c]
    return counts


@njit(cache=True, nogil=True)
def cumulate_counts(order: Array, added: Array) -> Array:
    """Returns (len(order) + 1, C) int32: sums of ``added`` (M, C) uint8 over the events before each place."""
    running = np.zeros((len(order) + 1, added.shape[1]), np.int32)
    for place in range(len(order)):
        for c in range(added.shape[1]):
            running[place + 1, c] = running[place, c] + added[order[place], c]
    return running


@njit(cache=True, nogil=True)
def read_counts(start: Array, running: Array, first: Array, ends: Array, rows: Array) -> Array:
    """Returns (N, C) float32: ``start`` (R, C) of each row + the sums of ``running`` up to ``ends``; 0 for a
    row < 0.
    """
    counts = np.zeros((len(rows), start.shape[1]), np.float32)
    for n in range(len(rows)):
        r = rows[n]
        if r >= 0:
            for c in range(start.shape[1]):
                counts[n, c] = np.float64(start[r, c]) + (running[ends[n], c] - running[first[r], c])
    return counts


@njit(cache=True, nogil=True)
def add_counts(state: Array, rows: Array, added: Array) -> None:
    """Adds ``added`` (M, C) to the rows ``rows`` (M,) of ``state`` (R, C) float64; rows < 0 are ignored."""
    for e in range(len(rows)):
        if rows[e] >= 0:
            for c in range(added.shape[1]):
                state[rows[e], c] += added[e, c]
