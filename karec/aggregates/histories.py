"""Lists of each user that events change: ``history``, ``skipped``, ``liked``, ``follows`` and ``shown``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.id_lists import Lists
from karec.aggregates.located_events import LocatedEvents
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.kernels import aggregates, ordered_lists

KEPT = 100  # latest works of a history
SHOWN_EXACTLY = 1000  # latest works that a user was shown
ALWAYS = np.iinfo(np.int64).min  # the moment of what a snapshot holds, before all events
MANY = 4  # so many queries for each entry are a sweep's worth


@dataclass(frozen=True)
class HistoryAggregate:
    """One list of each user, oldest first.

    name   the relation of a snapshot that holds it
    adds   (M,) bool from what labels mean and M events: those that add an entry
    value  what they add: the id of the work, or of its creator
    keep   so many latest entries stay, repeats included; None: each value enters once, at its first moment,
           and stays
    takes  (M,) bool of M events: those that take the value out; None: nothing does

    Its state for one user is ``(E, 3) int64``: time, number and value of what entered, in order of these,
    ~value of what was taken out. Two events of one moment are in order of their numbers: their places in a
    log, or their ids'. The state depends on which events were stepped and not on their order.
    """

    name: str
    adds: Callable[[Meaning, LocatedEvents], NDArray[Any]]
    value: Literal["work_id", "creator_id"]
    keep: int | None
    takes: Callable[[LocatedEvents], NDArray[Any]] | None = None

    def changes(self, meaning: Meaning, events: LocatedEvents) -> tuple[NDArray[Any], NDArray[Any]]:
        """(the places of the events that change the list, the values that enter, or ~value of those that
        leave)."""
        of_events = getattr(events, self.value)
        if of_events is None:  # works have no creators
            return np.empty(0, np.int64), np.empty(0, np.int64)
        taken = np.zeros(len(events), bool) if self.takes is None else self.takes(events)
        changes = self.adds(meaning, events) | taken
        if self.takes is not None:
            changes &= of_events >= 0  # a work without a creator: there is nobody to follow
        places = np.flatnonzero(changes)
        values = np.asarray(of_events[places], np.int64)
        return places, values if self.takes is None else np.where(taken[places], ~values, values)

    # One user's state, event by event.

    @staticmethod
    def empty() -> NDArray[Any]:
        return np.empty((0, 3), np.int64)

    def of_snapshot(self, snapshot: Snapshot, row: int) -> NDArray[Any]:
        """The state that begins with what a snapshot holds of the user in ``row``; empty for row −1."""
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

    def step(self, state: NDArray[Any], time_ms: int, number: int, value: int) -> NDArray[Any]:
        """The state after one more change."""
        new = np.array([[time_ms, number, value]], np.int64)
        return self.step_all(np.array([0, len(state)]), state, np.array([0, 1]), new)[1]

    def step_all(
        self, first: NDArray[Any], states: NDArray[Any], new_first: NDArray[Any], new: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """``step`` of many users with any number of changes: states and changes in CSR form, by user.
        O(changes) and the copy.
        """
        once = self.keep is None and self.takes is None
        return ordered_lists.insert_entries(
            first, states, new_first, new, np.iinfo(np.int64).max if self.keep is None else self.keep, once
        )

    def read(self, state: NDArray[Any]) -> Relation:
        """The list of a state, as a relation of one row."""
        kept = (
            state[ordered_lists.find_present(np.ascontiguousarray(state[:, ordered_lists.VALUE]))]
            if self.takes
            else state
        )
        return Relation(np.array([0, len(kept)]), kept[:, ordered_lists.VALUE], kept[:, ordered_lists.TIME])

    # All users, over arrays.

    def after(self, snapshot: Snapshot, events: LocatedEvents) -> Relation:
        """The list once all of ``events`` have happened. O((M + R) log(M + R)) for the R entries of the
        snapshot.

        Of a list of latest entries, and where the snapshot names scenes, it knows each entry's scene.
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
        """The list at any moment. O((M + R) log(M + R)) where values enter once, else O(M + R)."""
        return self._entries(snapshot, events)

    def _entries(self, snapshot: Snapshot, events: LocatedEvents) -> ListOverTime:
        places, values = self.changes(snapshot.meaning, events)
        n_users = len(snapshot.users)
        rows, times, known = events.user[places], events.time_ms[places], events.time_ms[places]
        scenes = None
        if self.keep is not None and snapshot.n_scenes:
            of_scene = events.user_scene[places]
            scenes = np.where(of_scene >= 0, of_scene % snapshot.n_scenes, -1).astype(np.int16)
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
        leave = self.takes is not None and bool((values < 0).any())
        if self.keep is None and not leave:
            kept = _first(rows, values)
            rows, values, times, known = rows[kept], values[kept], times[kept], known[kept]
        first, order = aggregates.group_by_row(rows, n_users)
        values = values[order]
        windows = ordered_lists.find_windows(first, values) if leave else None
        scenes = None if scenes is None else scenes[order]
        return ListOverTime(
            values, times[order], first, known[order], rows, known, self.keep, windows, scenes
        )


@dataclass(frozen=True, eq=False)
class ListOverTime:
    """One list of each user at any moment: what entered, (E,) ``values`` with the ``times`` to tell, in order
    of user and then of moment; those of a user lie at ``first (users + 1,)`` and are known since ``known``.
    ``event_rows, event_known``: the same entries in order of ``known``. ``windows``: where values are taken
    out too, what is present after each entry (``kernels.ordered_lists.find_windows``). ``scenes``: codes of
    the scenes in which the ``values`` entered, −1 where it is not known; None of lists that do not know them.
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
        """The lists of the users ``rows (N,)`` as of ``as_of (N,)`` ms. O(N log E), or O(N + E) where N is
        large and in order.
        """
        if len(rows) * MANY > len(self.values) and not (np.diff(as_of) < 0).any():
            ends = aggregates.sweep_ends(self.first[:-1], self.event_rows, self.event_known, rows, as_of)
        else:
            ends = aggregates.find_ends_before(self.first, self.known, rows, np.asarray(as_of))
        return self.until(rows, ends)

    def until(self, rows: NDArray[Any], ends: NDArray[Any]) -> Lists:
        """The lists of ``rows`` that end before their entries ``ends``."""
        starts = self.first[rows]
        if self.windows is not None:
            places, window_starts, window_ends = self.windows
            last, some = np.maximum(ends - 1, 0), ends > starts
            return Lists(
                self.values[places],
                np.where(some, window_starts[last], 0),
                np.where(some, window_ends[last], 0),
            )
        if self.keep is not None:
            starts = np.maximum(starts, ends - self.keep)
        return Lists(self.values, starts, ends)

    def shown_times(self, places: NDArray[Any]) -> NDArray[Any]:
        """The times of the entries at ``places`` of the values of ``until``."""
        return np.asarray(self.times[places] if self.windows is None else self.times[self.windows[0][places]])


def _first(rows: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """(E,) bool: the first place of each (row, value) pair. O(E log E)."""
    order = np.lexsort((values, rows))
    again = np.zeros(len(rows), bool)
    again[1:] = (rows[order][1:] == rows[order][:-1]) & (values[order][1:] == values[order][:-1])
    first = np.empty(len(rows), bool)
    first[order] = ~again
    return first


HISTORY = HistoryAggregate(
    "history", lambda meaning, events: meaning.is_enjoyed(events.labels), "work_id", KEPT
)
SKIPPED = HistoryAggregate(
    "skipped", lambda meaning, events: meaning.is_skipped(events.labels) & events.shown, "work_id", KEPT
)
LIKED = HistoryAggregate("liked", lambda meaning, events: meaning.is_liked(events.labels), "work_id", None)
FOLLOWS = HistoryAggregate(
    "follows",
    lambda meaning, events: meaning.is_followed(events.labels) | events.follow,
    "creator_id",
    None,
    takes=lambda events: events.unfollow,
)
SHOWN = HistoryAggregate("shown", lambda _, events: events.shown, "work_id", SHOWN_EXACTLY)
LIST_FOLDS = (HISTORY, SKIPPED, LIKED, FOLLOWS)
"""What a published snapshot keeps; ``SHOWN`` is kept by the state store alone."""
