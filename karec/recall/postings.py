"""Inverted lists: for each key (a song, a creator, a tag) the works that have it, best first.

The lists of a snapshot are built once and kept in ``snapshot.built``: the channels of all scenes share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from karec.platform import schema
from karec.platform.rates import mean_rate, smoothed_rate
from karec.platform.schema import CREATOR, PUBLISHED
from karec.platform.snapshot import Snapshot
from karec.types import Array


@dataclass(frozen=True, eq=False)
class Postings:
    """``rows[indptr[i]:indptr[i+1]]`` are the work rows of ``keys[i]``, by descending priority, ties by row."""

    keys: Array
    indptr: Array
    rows: Array

    @classmethod
    def build(cls, key_of_work: Array, priority: Array) -> Self:
        """``key_of_work (N,) int``, ``priority (N,)`` → the lists. O(N log N)."""
        order = np.lexsort((-priority, key_of_work))
        keys, first = np.unique(np.asarray(key_of_work)[order], return_index=True)
        return cls(keys, np.append(first, len(order)), order)

    def of(self, key: int, limit: int) -> Array:
        """The first ``limit`` work rows of ``key``; empty for a key that no work has. O(log keys)."""
        at = int(np.searchsorted(self.keys, key))
        if at == len(self.keys) or self.keys[at] != key:
            return self.rows[:0]
        begin, end = int(self.indptr[at]), int(self.indptr[at + 1])
        return self.rows[begin : min(end, begin + limit)]


def works_by(snapshot: Snapshot, column: str) -> Postings:
    """Work rows by their value of ``column``, most popular first (``popularity``)."""
    return snapshot.built.get(
        ("works by popularity", column), lambda: Postings.build(snapshot.works[column], popularity(snapshot))
    )


def newest_by_creator(snapshot: Snapshot) -> Postings | None:
    """Work rows by creator, published last first, most popular first where nobody knows when; None without creators."""
    columns = snapshot.works.columns
    if CREATOR not in columns:
        return None
    priority = np.asarray(columns[PUBLISHED], np.float64) if PUBLISHED in columns else popularity(snapshot)
    return snapshot.built.get("newest works by creator", lambda: Postings.build(columns[CREATOR], priority))


def users_by_family(snapshot: Snapshot) -> Postings | None:
    """User rows by family, in the order of the rows; None where users have no such column."""
    users = snapshot.users
    if "family" not in users.columns:
        return None
    return snapshot.built.get("users by family", lambda: Postings.build(users["family"], np.zeros(len(users))))


def interleave(lists: Sequence[Array], limit: int) -> Array:
    """The lists read in turns (first of each, second of each, …), repeats left out, at most ``limit`` rows.

    So the first works of every list are kept however small ``limit`` is. O(M log M).
    """
    if not lists:
        return np.empty(0, np.int64)
    flat = np.concatenate(lists)
    turn = np.concatenate([np.arange(len(part)) for part in lists])
    in_turns = flat[np.argsort(turn, kind="stable")]
    _, first = np.unique(in_turns, return_index=True)
    first.sort()
    return in_turns[first[:limit]]


def popularity(snapshot: Snapshot) -> Array:
    """(N,) float64 in [0, 1]: the smoothed rate, per show, of the last label that says enjoyed and is counted.

    Works without counters are ordered by when they were published, newest 1, oldest 0; all are 0 where nobody knows.
    """
    columns = snapshot.works.columns
    counted = [name for label in snapshot.meaning.enjoyed if (name := schema.counter(label)) in columns]
    if schema.EXPOSED not in columns or not counted:
        if PUBLISHED not in columns:
            return np.zeros(len(snapshot.works))
        upload = np.asarray(columns[PUBLISHED], np.float64)
        after_first = upload - upload.min(initial=np.inf)
        return np.asarray(after_first / after_first.max(initial=1.0))
    positives = np.asarray(columns[counted[-1]])
    shows = np.asarray(columns[schema.EXPOSED])
    return smoothed_rate(positives, shows, mean_rate(positives, shows))
