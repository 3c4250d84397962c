"""Loops of the chain, compiled by Numba. Marks have one number an item, 0 before and after a call."""

from __future__ import annotations

from functools import partial

import numba
import numpy as np
from numpy.typing import NDArray

njit = partial(numba.njit, cache=True, fastmath=True)
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Rows = NDArray[np.int32]


@njit()
def score_rows(vectors: Floats, codes: Rows, query: Floats, tables: Floats, rows: Rows) -> Floats:
    """Returns (N,) inner products of ``query`` with ``rows``, plus the entries of ``tables`` for their codes.

    vectors (items, D); codes (items, C), positions in ``tables``.
    """
    out = np.empty(len(rows), np.float32)
    for i in range(len(rows)):
        row, total = rows[i], np.float32(0.0)
        for d in range(len(query)):
            total += vectors[row, d] * query[d]
        for c in range(codes.shape[1]):
            total += tables[codes[row, c]]
        out[i] = total
    return out


@njit()
def add_tables(scores: Floats, codes: Rows, tables: Floats, rows: Rows) -> None:
    """Adds to the score of each of ``rows`` the entries of ``tables`` for its codes."""
    for i in range(len(rows)):
        for c in range(codes.shape[1]):
            scores[i] += tables[codes[rows[i], c]]


@njit()
def expand(begins: Ints, ends: Ints) -> Rows:
    """Returns the numbers begins[i] … ends[i] − 1 of all spans."""
    out, n = np.empty((ends - begins).sum(), np.int32), 0
    for i in range(len(begins)):
        for place in range(begins[i], ends[i]):
            out[n] = place
            n += 1
    return out


@njit()
def interleave(rows: Rows, begins: Ints, ends: Ints, limit: int, marks: NDArray[np.uint32]) -> Rows:
    """Returns the first of each list, the second of each, …, without repeats. List i is
    rows[begins[i]:ends[i]]."""
    places, lists, n_lists, n = begins.copy(), np.arange(len(begins)), len(begins), 0
    out = np.empty(min(limit, (ends - begins).sum()), np.int32)
    while n_lists and n < len(out):
        n_left = 0
        for at in range(n_lists):
            i = lists[at]
            if places[i] == ends[i]:
                continue
            lists[n_left] = i
            n_left += 1
            row = rows[places[i]]
            places[i] += 1
            if marks[row] == 0 and n < len(out):
                marks[row] = 1
                out[n] = row
                n += 1
        n_lists = n_left
    for i in range(n):
        marks[out[i]] = 0
    return out[:n]


@njit()
def merge(rows: Rows, ends: Ints, limit: int, marks: NDArray[np.uint32]) -> tuple[Rows, NDArray[np.uint32]]:
    """Returns (distinct rows, bits of the sources that found each). Source i ends at ends[i] of ``rows``."""
    out, n, begin = np.empty(len(rows), np.int32), 0, 0
    for source in range(len(ends)):
        bit = np.uint32(1) << np.uint32(source)
        for i in range(begin, ends[source]):
            mark = marks[rows[i]]
            if mark == 0:
                out[n] = rows[i]
                n += 1
            marks[rows[i]] = mark | bit
        begin = ends[source]
    found_by = np.empty(min(n, limit), np.uint32)
    for i in range(n):
        if i < limit:
            found_by[i] = marks[out[i]]
        marks[out[i]] = 0
    return out[: min(n, limit)], found_by


@njit()
def within_quota(groups: Rows, at_most: int, counts: NDArray[np.uint32]) -> Ints:
    """Returns the positions of items within the quota of their group. ``groups (N,)``: best item first."""
    keep, n = np.empty(len(groups), np.int64), 0
    for i in range(len(groups)):
        counts[groups[i]] += 1
        if counts[groups[i]] <= at_most:
            keep[n] = i
            n += 1
    for group in groups:
        counts[group] = 0
    return keep[:n]


@njit()
def greedy_dpp(
    f: Floats, facets: Ints, weights: Floats, q2: Floats, k: int, window: int, ridge: float
) -> Ints:
    """Selects k items by karec's definition of the DPP: a Cholesky row for each of the last ``window`` − 1.

    f (N, D) unit vectors, facets (F, N), q2 (N,) squared relevance factors. Cost: O(N·(D + window)) a pick if
    the window has all picks, else O(N·(D + window²)).
    """
    n, n_kept = len(f), min(window - 1, k)
    share = np.float32(1.0) - weights.sum()
    similarity = np.empty((n_kept + 1, n), np.float32)  # to the last picks, the newest at picks % n_kept
    factors = np.empty((n_kept + 1, n), np.float32)
    prior = np.empty(n, np.float32)
    for i in range(n):
        prior[i] = share * (f[i] * f[i]).sum() + weights.sum() + ridge
    variance, picks, left = prior.copy(), np.empty(k, np.int64), q2.copy()
    for t in range(k):
        pick = np.argmax(left * variance)
        picks[t] = pick
        left[pick] = -1.0
        if t + 1 == k:
            break
        column = similarity[t % n_kept]
        column[:] = share * np.dot(f, f[pick])
        for c in range(len(weights)):
            for i in range(n):
                if facets[c, i] == facets[c, pick]:
                    column[i] += weights[c]
        first = max(t + 1 - n_kept, 0)
        begin = first if first else t  # without a full window the earlier rows stay
        if first:
            variance[:] = prior
        for p in range(begin, t + 1):
            row = factors[p - first]
            row[:] = similarity[p % n_kept]
            row[picks[p]] += ridge
            for e in range(p - first):
                row -= factors[e, picks[p]] * factors[e]
            row /= np.sqrt(row[picks[p]])
            variance -= row * row
    return picks


@njit()
def arrange(values: Ints, windows: Ints, counts: Ints, k: int, max_tries: int) -> Ints:
    """Returns the first order of k items of which ``windows[r]`` neighbours have at most ``counts[r]`` equal
    ``values[r]``. It is empty if a depth-first search that tries ``max_tries`` items finds none.

    values (R, N); a value below 0 counts for no rule.
    """
    n, picks, used = values.shape[1], np.empty(k, np.int64), np.zeros(values.shape[1], np.bool_)
    place, candidate = 0, 0
    for _ in range(max_tries):
        if place == k:
            return picks
        if candidate == n:
            if place == 0:
                break
            place -= 1
            used[picks[place]] = False
            candidate = picks[place] + 1
            continue
        fits = not used[candidate]
        for r in range(len(values)):
            n_equal = 0
            for before in range(max(place + 1 - windows[r], 0), place):
                n_equal += values[r, picks[before]] == values[r, candidate]
            fits = fits and (values[r, candidate] < 0 or n_equal < counts[r])
        if fits:
            picks[place] = candidate
            used[candidate] = True
            place, candidate = place + 1, 0
        else:
            candidate += 1
    return picks[:0]
