"""Counters of users, of works, and of users in each scene: each exposure adds 1 to ``count_exposed``, and an
exposure or a later label adds its labels to ``count_<label>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.located_events import LocatedEvents
from karec.catalog import schema
from karec.catalog.once import computed_once
from karec.catalog.snapshot import Snapshot
from karec.kernels import aggregates

MANY = 4  # so many queries for each event are a sweep's worth


def added(events: LocatedEvents, counters: Sequence[str]) -> NDArray[Any]:
    """(M, C) uint8: what each event adds to ``counters``."""
    columns = np.empty((len(events), len(counters)), np.uint8)
    for at, name in enumerate(counters):
        columns[:, at] = (
            events.shown if name == schema.EXPOSED else events.labels[name.removeprefix(schema.counter(""))]
        )
    return columns


@dataclass(frozen=True)
class CounterFold:
    """Counters ``by`` row of the users, of the works, or of (user, scene); a counter starts at 0 where the
    snapshot has none of its name. An event in a scene that the snapshot does not name counts in no scene.

    Its state for C counters of R rows is ``(R, C) float64``, exact up to 2^53; it is read as float32.
    """

    by: Literal["user", "work", "user_scene"]

    # Event by event.

    @staticmethod
    def empty(n_rows: int, counters: Sequence[str]) -> NDArray[Any]:
        return np.zeros((n_rows, len(counters)))

    def of_snapshot(self, snapshot: Snapshot, rows: NDArray[Any], counters: Sequence[str]) -> NDArray[Any]:
        """The state of ``rows (R,)`` that begins with what a snapshot holds; 0 for a row −1."""
        columns, _ = self._start(snapshot)
        state = self.empty(len(rows), counters)
        known = np.flatnonzero(rows >= 0)
        for at, name in enumerate(counters):
            if name in columns:
                state[known, at] = columns[name][rows[known]]
        return state

    def step_all(self, state: NDArray[Any], events: LocatedEvents, counters: Sequence[str]) -> None:
        """Adds ``events``, whose rows are those of ``state``. O(M·C)."""
        aggregates.add_counts(state, getattr(events, self.by), added(events, counters))

    @staticmethod
    def read(state: NDArray[Any]) -> NDArray[Any]:
        return state.astype(np.float32)

    # All rows, over arrays.

    def after(self, snapshot: Snapshot, events: LocatedEvents) -> dict[str, NDArray[Any]]:
        """The snapshot's columns with every counter grown, as (rows,) float32, by all of ``events``. O(M ·
        labels)."""
        columns, n_rows = self._start(snapshot)
        rows = getattr(events, self.by)
        named = rows >= 0
        grown = dict(columns)
        names = (schema.EXPOSED, *map(schema.counter, events.labels))
        more = added(events, names)
        for at, name in enumerate(names):
            counted = np.bincount(rows[named], weights=more[named, at], minlength=n_rows)
            grown[name] = (columns.get(name, 0.0) + counted).astype(np.float32)
        return grown

    def over_time(
        self, snapshot: Snapshot, events: LocatedEvents, counters: Sequence[str]
    ) -> CountersOverTime:
        """The named ``counters`` at any moment. O(M·C)."""
        n_rows = self._start(snapshot)[1]
        start = self.of_snapshot(snapshot, np.arange(n_rows), counters).astype(np.float32)
        return CountersOverTime(start, getattr(events, self.by), events.time_ms, added(events, counters))

    def _start(self, snapshot: Snapshot) -> tuple[Mapping[str, NDArray[Any]], int]:
        """(columns, rows) that the snapshot holds."""
        if self.by == "user":
            return snapshot.users.columns, len(snapshot.users)
        if self.by == "work":
            return snapshot.works.columns, len(snapshot.works)
        return snapshot.user_scene_counters or {}, len(snapshot.users) * snapshot.n_scenes


@dataclass(frozen=True, eq=False)
class CountersOverTime:
    """C counters of R rows at any moment: ``start (R, C)`` of the snapshot, and what M events ``added (M,
    C)`` to their ``event_rows`` at their ``event_times``, in order of time.
    """

    start: NDArray[Any]
    event_rows: NDArray[Any]
    event_times: NDArray[Any]
    added: NDArray[Any]

    def at(self, rows: NDArray[Any], as_of: NDArray[Any]) -> NDArray[Any]:
        """(N, C) float32 of ``rows (N,)`` as of ``as_of (N,)`` ms; 0 for a row −1. O(N log M), or one sweep
        of O(N + M) where N is large and in order of time.
        """
        if len(rows) * MANY > len(self.event_times) and not (np.diff(as_of) < 0).any():
            return aggregates.sweep_counts(
                self.start, self.event_rows, self.event_times, self.added, rows, np.asarray(as_of)
            )
        first, times, running = self._by_row
        ends = aggregates.find_ends_before(first, times, rows, np.asarray(as_of))
        return aggregates.read_counts(self.start, running, first, ends, rows)

    @computed_once
    def _by_row(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """(first (R + 1,), times, running sums (M + 1, C)) by row: 4 bytes a counter and 8 for each event."""
        first, order = aggregates.group_by_row(self.event_rows, len(self.start))
        return first, self.event_times[order], aggregates.cumulate_counts(order, self.added)


BY_USER = CounterFold("user")
BY_WORK = CounterFold("work")
BY_USER_SCENE = CounterFold("user_scene")
