"""Lists of users that events change: history, skipped, liked, follows, muted, consumed and shown items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import FOLLOW, MUTE, UNFOLLOW, UNMUTE
from karec.aggregates.id_lists import Lists
from karec.aggregates.located_events import LocatedEvents
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.kernels import aggregates, ordered_lists

KEPT = 100  # newest items of a history
SHOWN_EXACTLY = 1000  # newest items shown to a user
ALWAYS = np.iinfo(np.int64).min  # time of the entries of a snapshot, before all events
SWEEP_RATIO = 4  # a sweep is used if entries are fewer than this multiple of the queries


@dataclass(frozen=True)
class HistoryAggregate:
    """One list of each user, oldest first. Any number of threads may call.

    name   relation of a snapshot with this list
    adds   returns (M,) bool of the events that add an entry
    value  value that they add: the id of the item or of its creator
    keep   number of newest entries that are kept, with repeats. None: each value is added once, at its first
           time, and kept
    takes  returns (M,) bool of the events that remove the value. None: no event does

    The state of one user is (E, 3) int64: time, number and value of added entries, ordered by these, and
    ~value for removed ones. Events of the same time are ordered by their numbers: their positions in a log,
    or their ids. The state does not depend on the order in which events are applied.
    """

    name: str
    adds: Callable[[Meaning, LocatedEvents], NDArray[Any]]
    value: Literal["work_id", "creator_id"]
    keep: int | None
    takes: Callable[[LocatedEvents], NDArray[Any]] | None = None

    def changes(self, meaning: Meaning, events: LocatedEvents) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns the indices of the events that change the list, and values to add or ~values to remove."""
        event_values = getattr(events, self.value)
        if event_values is None:  # items have no creators
            return np.empty(0, np.int64), np.empty(0, np.int64)
        is_removal = np.zeros(len(events), bool) if self.takes is None else self.takes(events)
        is_change = self.adds(meaning, events) | is_removal
        if self.takes is not None:
            is_change &= event_values >= 0  # an item without a creator adds no creator
        places = np.flatnonzero(is_change)
        values = np.asarray(event_values[places], np.int64)
        return places, values if self.takes is None else np.where(is_removal[places], ~values, values)

    # Single events.

    @staticmethod
    def empty() -> NDArray[Any]:
        return np.empty((0, 3), np.int64)

    def read_snapshot(self, snapshot: Snapshot, row: int) -> NDArray[Any]:
        """Returns the state of the user in ``row`` of a snapshot, empty for row −1."""
        start = snapshot.relations.get(self.name)
        if start is None or row < 0:
            return self.empty()
        values = np.asarray(start.row_values(row), np.int64)
        times = (
            np.zeros(len(values), np.int64)
            if start.times is None
            else start.times[start.indptr[row] :][: len(values)]
        )
        state = np.stack([times, np.full(len(values), ALWAYS), values], axis=1).astype(np.int64)
        return (
            state[np.sort(np.unique(values, return_index=True)[1])]
            if self.keep is None
            else state[-self.keep :]
        )

    def step_all(
        self, first: NDArray[Any], states: NDArray[Any], new_first: NDArray[Any], new: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Applies changes to the states of many users. States and changes are in CSR form, by user.

        Cost: O(changes), and a copy of the states.
        """
        is_unique = self.keep is None and self.takes is None
        return ordered_lists.insert_entries(
            first,
            states,
            new_first,
            new,
            np.iinfo(np.int64).max if self.keep is None else self.keep,
            is_unique,
        )

    def read(self, state: NDArray[Any]) -> Relation:
        """Returns the list of a state, as a relation of one row."""
        entries = (
            state[ordered_lists.find_present(np.ascontiguousarray(state[:, ordered_lists.VALUE]))]
            if self.takes
            else state
        )
        return Relation(
            np.array([0, len(entries)]), entries[:, ordered_lists.VALUE], entries[:, ordered_lists.TIME]
        )

    # A whole log.

    def after(self, snapshot: Snapshot, events: LocatedEvents) -> Relation:
        """Returns the lists after all ``events``. O((M + R) log(M + R)) for R entries of the snapshot.

        Lists with ``keep`` have the scenes of their entries if the snapshot has scenes.
        """
        entries = self._entries(snapshot, events)
        rows = np.arange(len(snapshot.users))
        lists = entries.until(rows, entries.first[1:])
        lengths = lists.ends - lists.starts
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        places = np.repeat(lists.starts - indptr[:-1], lengths) + np.arange(indptr[-1])
        scenes = None if entries.scenes is None else entries.scenes[places]
        return Relation(indptr, lists.values[places], entries.shown_times(places), scenes)

    def over_time(self, snapshot: Snapshot, events: LocatedEvents) -> ListOverTime:
        """Returns the lists at any time. O((M + R) log(M + R)) for unique values, else O(M + R)."""
        return self._entries(snapshot, events)

    def _entries(self, snapshot: Snapshot, events: LocatedEvents) -> ListOverTime:
        places, values = self.changes(snapshot.meaning, events)
        n_users = len(snapshot.users)
        rows, times, known = events.user[places], events.time_ms[places], events.time_ms[places]
        scenes = None
        if self.keep is not None and snapshot.n_scenes:
            scene_rows = events.user_scene[places]
            scenes = np.where(scene_rows >= 0, scene_rows % snapshot.n_scenes, -1).astype(np.int16)
        start = snapshot.relations.get(self.name)
        if start is not None:
            n = len(start.values)
            if scenes is not None:
                scenes = np.concatenate(
                    [np.full(n, -1, np.int16) if start.scenes is None else start.scenes, scenes]
                )
            rows = np.concatenate([np.repeat(np.arange(n_users), np.diff(start.indptr)), rows])
            values = np.concatenate([start.values, values])
            known = np.concatenate([np.full(n, ALWAYS), known])
            times = np.concatenate([np.zeros(n, np.int64) if start.times is None else start.times, times])
        has_removals = self.takes is not None and bool((values < 0).any())
        if self.keep is None and not has_removals:
            is_first = _find_first(rows, values)
            rows, values, times, known = rows[is_first], values[is_first], times[is_first], known[is_first]
        first, order = aggregates.group_by_row(rows, n_users)
        values = values[order]
        windows = ordered_lists.find_windows(first, values) if has_removals else None
        scenes = None if scenes is None else scenes[order]
        return ListOverTime(
            values, times[order], first, known[order], rows, known, self.keep, windows, scenes
        )


@dataclass(frozen=True, eq=False)
class ListOverTime:
    """One list of each user at any time. Any number of threads may call.

    values       (E,) added values, ordered by user and time
    times        (E,) times of entries
    first        (users + 1,) bounds of the entries of each user
    known        (E,) times from which the entries are known
    event_rows   (E,) users of the same entries, ordered by ``known``
    event_known  (E,) their ``known``
    keep         as in ``HistoryAggregate``
    windows      entries present after each entry, if values are removed
                 (``kernels.ordered_lists.find_windows``)
    scenes       (E,) codes of scenes, −1 if unknown. None: the list has no scenes
    """

    values: NDArray[Any]
    times: NDArray[Any]
    first: NDArray[Any]
    known: NDArray[Any]
    event_rows: NDArray[Any]
    event_known: NDArray[Any]
    keep: int | None
    windows: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None = None
    scenes: NDArray[Any] | None = None

    def at(self, rows: NDArray[Any], as_of: NDArray[Any]) -> Lists:
        """Returns the lists of users ``rows`` (N,) before ``as_of`` (N,) ms.

        Cost: O(N log E), or O(N + E) for many queries that are ordered by time.
        """
        if len(rows) * SWEEP_RATIO > len(self.values) and not (np.diff(as_of) < 0).any():
            ends = aggregates.sweep_ends(self.first[:-1], self.event_rows, self.event_known, rows, as_of)
        else:
            ends = aggregates.find_ends_before(self.first, self.known, rows, np.asarray(as_of))
        return self.until(rows, ends)

    def until(self, rows: NDArray[Any], ends: NDArray[Any]) -> Lists:
        """Returns the lists of ``rows`` without the entries from ``ends`` on."""
        starts = self.first[rows]
        if self.windows is not None:
            places, window_starts, window_ends = self.windows
            last, is_filled = np.maximum(ends - 1, 0), ends > starts
            return Lists(
                self.values[places],
                np.where(is_filled, window_starts[last], 0),
                np.where(is_filled, window_ends[last], 0),
            )
        if self.keep is not None:
            starts = np.maximum(starts, ends - self.keep)
        return Lists(self.values, starts, ends)

    def shown_times(self, places: NDArray[Any]) -> NDArray[Any]:
        """Returns the times of the entries at ``places`` of the values of ``until``."""
        return np.asarray(self.times[places] if self.windows is None else self.times[self.windows[0][places]])


def _find_first(rows: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Returns (E,) True for the first occurrence of each (row, value) pair. O(E log E)."""
    order = np.lexsort((values, rows))
    is_repeat = np.zeros(len(rows), bool)
    is_repeat[1:] = (rows[order][1:] == rows[order][:-1]) & (values[order][1:] == values[order][:-1])
    is_first = np.empty(len(rows), bool)
    is_first[order] = ~is_repeat
    return is_first


HISTORY = HistoryAggregate(
    "history", lambda meaning, events: meaning.is_enjoyed(events.labels), "work_id", KEPT
)
SKIPPED = HistoryAggregate(
    "skipped", lambda meaning, events: meaning.is_skipped(events.labels) & events.shown, "work_id", KEPT
)
LIKED = HistoryAggregate("liked", lambda meaning, events: meaning.is_liked(events.labels), "work_id", None)
FOLLOWS = HistoryAggregate(
    "follows",
    lambda meaning, events: meaning.is_followed(events.labels) | events.has_kind(FOLLOW),
    "creator_id",
    None,
    takes=lambda events: events.has_kind(UNFOLLOW),
)
MUTED = HistoryAggregate(
    "muted",
    lambda _, events: events.has_kind(MUTE),
    "creator_id",
    None,
    takes=lambda events: events.has_kind(UNMUTE),
)
SHOWN = HistoryAggregate("shown", lambda _, events: events.shown, "work_id", SHOWN_EXACTLY)
CONSUMED = HistoryAggregate(
    "consumed", lambda meaning, events: meaning.is_consumed(events.labels), "work_id", None
)
LIST_AGGREGATES = (HISTORY, SKIPPED, LIKED, FOLLOWS, CONSUMED)
"""The lists of a published snapshot. Only the online store has ``SHOWN`` and ``MUTED``."""


def lists_of(meaning: Meaning) -> tuple[HistoryAggregate, ...]:
    """Returns LIST_AGGREGATES, without CONSUMED if no label means consumed; that saves a read."""
    return tuple(aggregate for aggregate in LIST_AGGREGATES if aggregate is not CONSUMED or meaning.consumed)
