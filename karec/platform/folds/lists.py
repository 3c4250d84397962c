"""Lists of each user that exposures make longer: the relations ``history``, ``skipped``, ``liked`` and ``follows``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from karec.kernels.encode import padded_histories
from karec.platform.folds.located import LocatedExposures
from karec.platform.folds.moments import MomentKeys
from karec.platform.relations import Relation
from karec.platform.schema import Meaning
from karec.platform.snapshot import Snapshot
from karec.types import Array

KEPT = 100  # latest works of a history


@dataclass(frozen=True)
class ListFold:
    """One list of each user, oldest first.

    name   the relation of a snapshot that holds it
    adds   (M,) bool from what labels mean and the labels of M exposures: those that add an entry
    value  what they add: the id of the work, or of its creator
    keep   so many latest entries stay, repeats included; None: each value enters once, at its first moment, and stays
    """

    name: str
    adds: Callable[[Meaning, Mapping[str, Array]], Array]
    value: Literal["work_id", "creator_id"]
    keep: int | None

    def after(self, snapshot: Snapshot, events: LocatedExposures) -> Relation:
        """The list once all of ``events`` have happened. O((M + R) log(M + R)) for the R entries of the snapshot."""
        entries = self._entries(snapshot, events)
        rows = entries.rows
        kept = np.ones(len(rows), bool)
        if self.keep is not None:
            kept = np.searchsorted(rows, rows, side="right") - np.arange(len(rows)) <= self.keep
        indptr = np.zeros(len(snapshot.users) + 1, np.int64)
        np.cumsum(np.bincount(rows[kept], minlength=len(snapshot.users)), out=indptr[1:])
        return Relation(indptr, entries.values[kept], entries.times[kept])

    def over_time(self, snapshot: Snapshot, events: LocatedExposures) -> ListOverTime:
        """The list at any moment. O((M + R) log(M + R))."""
        entries, moments = self._entries(snapshot, events), events.moments
        key = moments.at_start(entries.rows)
        new = entries.places >= 0
        key[new] = moments.of_exposures(entries.rows[new], entries.places[new])
        first = np.searchsorted(key, moments.at_start(np.arange(len(snapshot.users))))
        return ListOverTime(entries.values, key, first, moments, self.keep)

    def _entries(self, snapshot: Snapshot, events: LocatedExposures) -> _Entries:
        of_events = getattr(events, self.value)
        if of_events is None:  # works have no creators
            places = np.empty(0, np.int64)
            values = places
        else:
            places = np.flatnonzero(self.adds(snapshot.meaning, events.exposures.labels))
            values = np.asarray(of_events[places], np.int64)
        rows, times = events.user[places], events.exposures.time_ms[places]
        start = snapshot.relations.get(self.name)
        if start is not None:
            n = len(start.values)
            rows = np.concatenate([np.repeat(np.arange(len(start)), np.diff(start.indptr)), rows])
            values = np.concatenate([start.values, values])
            times = np.concatenate([np.zeros(n, np.int64) if start.times is None else start.times, times])
            places = np.concatenate([np.full(n, -1), places])
        order = np.argsort(rows, kind="stable")
        if self.keep is None:
            order = order[_first(rows[order], values[order])]
        return _Entries(rows[order], values[order], times[order], places[order])


@dataclass(frozen=True, eq=False)
class _Entries:
    """The entries of all users in order of user row, then oldest first; ``places``: the exposure that added each, −1
    for those of the snapshot. Nothing is cut off yet.
    """

    rows: Array
    values: Array
    times: Array
    places: Array


@dataclass(frozen=True, eq=False)
class ListOverTime:
    """One list of each user at any moment: the entries of all users with their ascending ``key`` of (user row, moment);
    those of a user begin at ``first (users,)``.
    """

    values: Array
    key: Array
    first: Array
    moments: MomentKeys
    keep: int | None

    def at(self, rows: Array, as_of: Array) -> Lists:
        """The lists of the users ``rows (N,)`` as of ``as_of (N,)`` ms. O(N log(M + R))."""
        starts = self.first[rows]
        ends = np.searchsorted(self.key, self.moments.before(rows, as_of))
        if self.keep is not None:
            starts = np.maximum(starts, ends - self.keep)
        return Lists(self.values, starts, ends)


@dataclass(frozen=True, eq=False)
class Lists:
    """N lists of ids: ``values[starts[n]:ends[n]]``, oldest first."""

    values: Array
    starts: Array
    ends: Array

    @classmethod
    def unchanged(cls, relation: Relation | None, rows: Array) -> Lists:
        """Of ``rows (N,)`` what a relation holds that no exposure changes; empty where there is no such relation."""
        if relation is None:
            nothing = np.zeros(len(rows), np.int64)
            return cls(np.empty(0, np.int64), nothing, nothing)
        indptr = np.asarray(relation.indptr, np.int64)
        return cls(np.asarray(relation.values, np.int64), indptr[rows], indptr[rows + 1])

    def take(self, rows: Array) -> Lists:
        return Lists(self.values, self.starts[rows], self.ends[rows])

    def latest(self, width: int) -> Array:
        """(N, width) int64: the last entries, newest first, padded with −1."""
        return padded_histories(self.values, self.starts, self.ends, width)


def _first(rows: Array, values: Array) -> Array:
    """(E,) bool: the first place of each (row, value) pair. O(E log E)."""
    order = np.lexsort((values, rows))
    again = np.zeros(len(rows), bool)
    again[1:] = (rows[order][1:] == rows[order][:-1]) & (values[order][1:] == values[order][:-1])
    first = np.empty(len(rows), bool)
    first[order] = ~again
    return first


HISTORY = ListFold("history", Meaning.is_enjoyed, "work_id", KEPT)
SKIPPED = ListFold("skipped", Meaning.is_skipped, "work_id", KEPT)
LIKED = ListFold("liked", Meaning.is_liked, "work_id", None)
FOLLOWS = ListFold("follows", Meaning.is_followed, "creator_id", None)
LIST_FOLDS = (HISTORY, SKIPPED, LIKED, FOLLOWS)
