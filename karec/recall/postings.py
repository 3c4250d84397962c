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


def newest_by_creator(snapshot: Snapshot) -> Postings:
    """Work rows by creator, uploaded last first."""
    works = snapshot.works
    return snapshot.built.get(
        "newest works by creator",
        lambda: Postings.build(works["creator_id"], np.asarray(works["upload_ms"], np.float64)),
    )


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
    """(N,) float64 in [0, 1]: smoothed long-view rate per show, of clicks where long views are not counted.

    Works without counters are ordered by upload time, newest 1, oldest 0.
    """
    columns = snapshot.works.columns
    if schema.EXPOSED not in columns:
        upload = np.asarray(columns["upload_ms"], np.float64)
        after_first = upload - upload.min(initial=np.inf)
        return np.asarray(after_first / after_first.max(initial=1.0))
    long_view = schema.counter("long_view")
    positives = np.asarray(columns[long_view if long_view in columns else schema.counter("click")])
    shows = np.asarray(columns[schema.EXPOSED])
    return smoothed_rate(positives, shows, mean_rate(positives, shows))
