"""Counters of users, of works, and of users in each scene: each exposure adds 1 to ``count_exposed`` and its labels to
``count_<label>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from karec.platform import schema
from karec.platform.events import Exposures
from karec.platform.folds.located import LocatedExposures
from karec.platform.folds.moments import MomentKeys
from karec.platform.snapshot import Snapshot
from karec.types import Array


def added(exposures: Exposures, counter: str) -> Array:
    """(M,) int32: what each exposure adds to ``counter``."""
    if counter == schema.EXPOSED:
        return np.ones(len(exposures), np.int32)
    return exposures.labels[counter.removeprefix(schema.counter(""))].astype(np.int32)


@dataclass(frozen=True)
class CounterFold:
    """Counters ``by`` row of the users, of the works, or of (user, scene); a counter starts at 0 where the snapshot has
    none of its name. An exposure in a scene that the snapshot does not name counts in no scene.
    """

    by: Literal["user", "work", "user_scene"]

    def after(self, snapshot: Snapshot, events: LocatedExposures) -> dict[str, Array]:
        """The snapshot's columns with every counter grown, as (rows,) float32, by all of ``events``. O(M · labels)."""
        columns, n_rows = self._start(snapshot)
        rows = getattr(events, self.by)
        named = rows >= 0
        grown = dict(columns)
        for name in (schema.EXPOSED, *map(schema.counter, events.exposures.labels)):
            more = np.bincount(rows[named], weights=added(events.exposures, name)[named], minlength=n_rows)
            grown[name] = (columns.get(name, 0.0) + more).astype(np.float32)
        return grown

    def over_time(self, snapshot: Snapshot, events: LocatedExposures, counters: Sequence[str]) -> CountersOverTime:
        """The named ``counters`` at any moment. O(M log M), 4 bytes a counter and 8 for each exposure."""
        columns, n_rows = self._start(snapshot)
        moments = events.moments
        key = moments.of_exposures(getattr(events, self.by), np.arange(len(events)))
        order = np.argsort(key, kind="stable")
        running = np.zeros((len(order) + 1, len(counters)), np.int32)
        start = np.zeros((n_rows, len(counters)), np.float32)
        for at, name in enumerate(counters):
            np.cumsum(added(events.exposures, name)[order], out=running[1:, at])
            start[:, at] = columns.get(name, 0.0)
        key = key[order]
        first = np.searchsorted(key, moments.at_start(np.arange(n_rows)))
        return CountersOverTime(start, running, key, first, moments)

    def _start(self, snapshot: Snapshot) -> tuple[Mapping[str, Array], int]:
        """(columns, rows) that the snapshot holds."""
        if self.by == "user":
            return snapshot.users.columns, len(snapshot.users)
        if self.by == "work":
            return snapshot.works.columns, len(snapshot.works)
        return snapshot.user_scene_counters or {}, len(snapshot.users) * snapshot.n_scenes


@dataclass(frozen=True, eq=False)
class CountersOverTime:
    """C counters of R rows at any moment: ``start (R, C)`` of the snapshot, and ``running (M + 1, C)`` sums over the
    exposures in order of their ``key (M,)`` of (row, moment); those of a row begin at ``first (R,)``.
    """

    start: Array
    running: Array
    key: Array
    first: Array
    moments: MomentKeys

    def at(self, rows: Array, as_of: Array) -> Array:
        """(N, C) float32 of ``rows (N,)`` as of ``as_of (N,)`` ms; 0 for a row −1. O(N log M)."""
        counts = np.zeros((len(rows), self.start.shape[1]), np.float32)
        named = np.flatnonzero(rows >= 0)
        rows = rows[named]
        now = np.searchsorted(self.key, self.moments.before(rows, as_of[named]))
        counts[named] = self.start[rows] + (self.running[now] - self.running[self.first[rows]])
        return counts


BY_USER = CounterFold("user")
BY_WORK = CounterFold("work")
BY_USER_SCENE = CounterFold("user_scene")
