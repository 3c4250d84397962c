"""Counters of users, of items, and of users by scene.

An impression adds 1 to ``count_exposed``. An impression or a later label adds its labels to
``count_<label>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.aggregates import recent
from karec.aggregates.located_events import LocatedEvents
from karec.catalog import schema
from karec.catalog.once import computed_once
from karec.catalog.snapshot import Snapshot
from karec.kernels import aggregates

SWEEP_RATIO = 4  # a sweep is used if events are fewer than this multiple of the queries


def count_increments(events: LocatedEvents, counters: Sequence[str]) -> NDArray[Any]:
    """Returns (M, C) uint8, the increment of each of ``counters`` by each event."""
    columns = np.empty((len(events), len(counters)), np.uint8)
    for column, name in enumerate(counters):
        columns[:, column] = (
            events.shown if name == schema.EXPOSED else events.labels[name.removeprefix(schema.counter(""))]
        )
    return columns


def add_recent(state: NDArray[Any], events: LocatedEvents, counters: Sequence[str]) -> NDArray[Any]:
    """Returns the recent counters ``state`` (R, ·) of items after ``events``. O((R + M)·C)."""
    events = events.take(events.work >= 0)
    return recent.add(
        state, events.work, recent.states_of_events(events.time_ms, count_increments(events, counters))
    )


@dataclass(frozen=True)
class CounterAggregate:
    """Counters by user, by item, or by user and scene. Any number of threads may call.

    A counter that the snapshot does not have starts at 0. An event in an unknown scene counts in no scene.
    The state for C counters of R rows is (R, C) float64, exact up to 2^53. It is read as float32.
    """

    by: Literal["user", "work", "user_scene"]

    # Single events.

    @staticmethod
    def empty(n_rows: int, counters: Sequence[str]) -> NDArray[Any]:
        return np.zeros((n_rows, len(counters)))

    def read_snapshot(self, snapshot: Snapshot, rows: NDArray[Any], counters: Sequence[str]) -> NDArray[Any]:
        """Returns the state of ``rows`` (R,) in a snapshot, 0 for row −1."""
        columns, _ = self._start(snapshot)
        state = self.empty(len(rows), counters)
        known_rows = np.flatnonzero(rows >= 0)
        for column, name in enumerate(counters):
            if name in columns:
                state[known_rows, column] = columns[name][rows[known_rows]]
        return state

    def step_all(self, state: NDArray[Any], events: LocatedEvents, counters: Sequence[str]) -> None:
        """Adds ``events`` to the rows of ``state`` that they name. O(M·C)."""
        aggregates.add_counts(state, getattr(events, self.by), count_increments(events, counters))

    @staticmethod
    def read(state: NDArray[Any]) -> NDArray[Any]:
        return state.astype(np.float32)

    # A whole log.

    def after(self, snapshot: Snapshot, events: LocatedEvents) -> dict[str, NDArray[Any]]:
        """Returns the columns of the snapshot with all ``events`` added, (rows,) float32. O(M · labels)."""
        columns, n_rows = self._start(snapshot)
        rows = getattr(events, self.by)
        has_row = rows >= 0
        new_columns = dict(columns)
        names = (schema.EXPOSED, *map(schema.counter, events.labels))
        increments = count_increments(events, names)
        for column, name in enumerate(names):
            increments_by_row = np.bincount(
                rows[has_row], weights=increments[has_row, column], minlength=n_rows
            )
            new_columns[name] = (columns.get(name, 0.0) + increments_by_row).astype(np.float32)
        return new_columns

    def over_time(
        self, snapshot: Snapshot, events: LocatedEvents, counters: Sequence[str]
    ) -> CountersOverTime:
        """Returns ``counters`` at any time. O(M·C)."""
        n_rows = self._start(snapshot)[1]
        start = self.read_snapshot(snapshot, np.arange(n_rows), counters).astype(np.float32)
        return CountersOverTime(
            start, getattr(events, self.by), events.time_ms, count_increments(events, counters)
        )

    def _start(self, snapshot: Snapshot) -> tuple[Mapping[str, NDArray[Any]], int]:
        """Returns the columns of the snapshot and the number of rows."""
        if self.by == "user":
            return snapshot.users.columns, len(snapshot.users)
        if self.by == "work":
            return snapshot.works.columns, len(snapshot.works)
        return snapshot.user_scene_counters or {}, len(snapshot.users) * snapshot.n_scenes


@dataclass(frozen=True, eq=False)
class CountersOverTime:
    """C counters of R rows at any time. Any number of threads may call.

    start        (R, C) float32 of the snapshot
    event_rows   (M,) rows of events, ordered by time
    event_times  (M,) Unix ms
    added        (M, C) increments of events, uint8, or int32 of several events
    """

    start: NDArray[Any]
    event_rows: NDArray[Any]
    event_times: NDArray[Any]
    added: NDArray[Any]

    def at(self, rows: NDArray[Any], as_of: NDArray[Any]) -> NDArray[Any]:
        """Returns (N, C) float32 of ``rows`` (N,) before ``as_of`` (N,) ms, 0 for row −1.

        Cost: O(N log M), or one sweep of O(N + M) for many queries that are ordered by time.
        """
        if len(rows) * SWEEP_RATIO > len(self.event_times) and not (np.diff(as_of) < 0).any():
            return aggregates.sweep_counts(
                self.start, self.event_rows, self.event_times, self.added, rows, np.asarray(as_of)
            )
        first, times, sums = self._by_row
        ends = aggregates.find_ends_before(first, times, rows, np.asarray(as_of))
        return aggregates.read_counts(self.start, sums, first, ends, rows)

    @computed_once
    def _by_row(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """First events (R + 1,), times and running sums (M + 1, C) by row; 4·C + 8 bytes for each event."""
        first, order = aggregates.group_by_row(self.event_rows, len(self.start))
        return first, self.event_times[order], aggregates.cumulate_counts(order, self.added)


BY_USER = CounterAggregate("user")
BY_WORK = CounterAggregate("work")
BY_USER_SCENE = CounterAggregate("user_scene")
