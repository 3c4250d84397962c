"""Events into states: each batch is one commit, with the log's cursor in it.

    read      which events were counted, then the states of the users and works that the rest name: two reads
    step      the folds' own ``step_all``
    commit    the states, the events' ids and the cursor, all or none

So at any moment the store holds what the log says up to the store's cursor, whenever the process was killed.
What an event adds depends on the event and the base alone, so the order in which several writers' events
arrive changes nothing.

What was shown is kept in pieces: older_shown.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.counters import BY_USER, BY_USER_SCENE, BY_WORK
from karec.aggregates.events import NONE, Events
from karec.aggregates.fading_counters import RECENT_BY_WORK
from karec.aggregates.histories import LIST_FOLDS, SHOWN, HistoryAggregate
from karec.aggregates.located_events import FOLDED, LocatedEvents
from karec.errors import DataError
from karec.kernels.folds import grouped
from karec.online.event_log.tail import Cursor, EventTail
from karec.online.lifecycle import ItemLifecycle, of_lives
from karec.online.shown_history import ALL_SHOWN, spilled
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.event_dedup import forgotten, once
from karec.online.store.store import CURSOR, StateStore

AT_ONCE = 20_000


@dataclass(eq=False)
class EventApplier:
    """Writes to ``store`` what events change. One writer at a time: a second one makes the first raise
    Conflict.

    ``counts``: events by what became of them, since this writer began: "folded", "repeated", "before the
    base", "of a kind that no fold reads"; "of works": uploads, deletions, edits and blocks, which may come
    again and change nothing, and of these "unreadable text"; of the folded ones "unknown user" and "unknown
    work", which the base does not hold and which count as any other; "corrupt entries", begun anew from the
    base. Raises DataError when the store is of other labels, scenes or meanings.
    """

    store: StateStore
    folded: StoreContents
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.folded.check(self.store)
        self._was, passed = self.store.read([CURSOR, records.PASSED_OVER])
        self._passed_over_ms = records.moment_of(passed)

    @property
    def cursor(self) -> Cursor:
        """How far in the log the store is. DataError: the store's cursor is damaged."""
        try:
            return Cursor() if self._was is None else Cursor.of_bytes(self._was)
        except ValueError as error:
            raise DataError(
                f"the state store does not say how far in the log it is ({error}): begin an empty store and "
                "rebuild it from the event log"
            ) from error

    def follow(self, tail: EventTail, most: int = AT_ONCE) -> int:
        """Takes what ``tail`` has next, up to about ``most`` events, and returns how many; 0 when nothing is
        new."""
        events = tail.poll(most)
        if len(events):
            self.apply(events, tail.cursor)
        return len(events)

    def apply(self, events: Events, cursor: Cursor) -> None:
        """One commit: ``events``, in any order, and ``cursor`` behind them."""
        counted: Counter[str] = Counter()
        entries: dict[bytes, bytes | None] = {records.META: self.folded.described}
        if len(events):
            entries |= forgotten(self.store, int(events.logged_ms.max()), self.folded.head.late_ms)
        lives = of_lives(events)
        if len(lives):
            entries |= ItemLifecycle.named_by(self.store, lives, counted).step(lives, counted).entries()
            counted["of works"] = len(lives)
        read, early = np.isin(events.kind, FOLDED), events.time_ms < self.folded.base.time_ms
        counted["of a kind that no fold reads"] = int((~read).sum()) - len(lives)
        counted["before the base"] = int((read & early).sum())
        passed_over_ms = int(events.time_ms[read & early].max(initial=self._passed_over_ms))
        if passed_over_ms > self._passed_over_ms:
            entries[records.PASSED_OVER] = records.of_moment(passed_over_ms)
        events = events.take(read & ~early)
        if len(events):
            new, seen, corrupt = once(self.store, events)
            entries |= seen
            counted["repeated"], counted["corrupt entries"] = int((~new).sum()), corrupt
            events = events.take(new)
        if len(events):
            counted["folded"] = len(events)
            entries |= self._folded(events, counted)
        written = cursor.to_bytes()
        self.store.commit({**entries, CURSOR: written}, self._was)
        self._was, self._passed_over_ms = written, passed_over_ms
        self.counts += counted

    def _folded(self, events: Events, counted: Counter[str]) -> dict[bytes, bytes]:
        """The entries of users and works after ``events``, each of which is new."""
        users, user = np.unique(events.user_id, return_inverse=True)
        works, work = np.unique(events.item_id, return_inverse=True)
        work_rows = self.folded.base.works.lookup(works)
        located = LocatedEvents.of_rows(
            self.folded.base,
            self.folded.head,
            events,
            user,
            np.where(events.item_id >= 0, work, -1),
            work_rows[work],
        )
        user_rows = self.folded.base.users.lookup(users)
        counted["unknown user"] = int((user_rows[user] < 0).sum())
        counted["unknown work"] = int(((work_rows[work] < 0) & (events.item_id >= 0)).sum())
        steps = [_ListStep.of(fold, letter, self.folded, located, events, users) for fold, letter in _LISTS]
        steps = [step for step in steps if len(step.keys)]
        counter_keys = (
            records.keys_of(records.USER_COUNTERS, users),
            records.keys_of(records.WORK_COUNTERS, works),
        )
        groups = [*(step.keys for step in steps), *counter_keys, records.keys_of(records.WORK_RECENT, works)]
        values = self.store.read([key for keys in groups for key in keys])
        cut = np.cumsum([0, *map(len, groups)]).tolist()
        entries: dict[bytes, bytes] = {}
        for step, begin, end in zip(steps, cut, cut[1:], strict=False):
            first, states, corrupt = step.after(values[begin:end], self.folded, user_rows)
            counted["corrupt entries"] += corrupt
            entries |= records.packed(step.keys, first, states)
            if step.fold is SHOWN:
                entries |= spilled(self.store, users[step.rows], first, states, counted)
        of_users, of_works, of_recent = (values[begin:end] for begin, end in pairwise(cut[-4:]))
        entries |= self._user_counters(counter_keys[0], of_users, located, user_rows, counted)
        entries |= self._work_counters(counter_keys[1], of_works, located, work_rows, counted)
        recent = records.unpack(groups[-1], of_recent, 1 + len(self.folded.counters))
        counted["corrupt entries"] += recent.corrupt
        days = RECENT_BY_WORK.step_all(recent.first, recent.rows, located, self.folded.counters)
        entries |= records.packed(groups[-1], *days)
        if works[0] == NONE:  # of follows
            del entries[counter_keys[1][0]], entries[groups[-1][0]]
        return entries

    def _user_counters(
        self,
        keys: list[bytes],
        values: list[bytes | None],
        located: LocatedEvents,
        rows: NDArray[Any],
        counted: Counter[str],
    ) -> dict[bytes, bytes]:
        base, names = self.folded.base, self.folded.counters
        n_scenes, width = base.n_scenes, len(names)
        state = np.empty((len(keys), 1 + n_scenes, width))
        state[:, 0] = BY_USER.of_snapshot(base, rows, names)
        in_scenes = np.where(rows[:, None] >= 0, rows[:, None] * n_scenes + np.arange(n_scenes), -1)
        state[:, 1:] = BY_USER_SCENE.of_snapshot(base, in_scenes.ravel(), names).reshape(
            len(keys), n_scenes, width
        )
        _overwrite(state.reshape(len(keys), -1), keys, values, counted)
        of_user, of_scenes = (
            np.ascontiguousarray(state[:, 0]),
            np.ascontiguousarray(state[:, 1:]).reshape(-1, width),
        )
        BY_USER.step_all(of_user, located, names)
        BY_USER_SCENE.step_all(of_scenes, located, names)
        state[:, 0], state[:, 1:] = of_user, of_scenes.reshape(len(keys), n_scenes, width)
        return records.packed(keys, np.arange(len(keys) + 1), state.reshape(len(keys), -1))

    def _work_counters(
        self,
        keys: list[bytes],
        values: list[bytes | None],
        located: LocatedEvents,
        rows: NDArray[Any],
        counted: Counter[str],
    ) -> dict[bytes, bytes]:
        state = BY_WORK.of_snapshot(self.folded.base, rows, self.folded.counters)
        _overwrite(state, keys, values, counted)
        BY_WORK.step_all(state, located, self.folded.counters)
        return records.packed(keys, np.arange(len(keys) + 1), state)


_LISTS = ((SHOWN, records.NEWEST_SHOWN), *((fold, records.USER_LISTS[fold.name]) for fold in LIST_FOLDS))


@dataclass(frozen=True, eq=False)
class _ListStep:
    """One fold of one batch: the ``rows`` of the batch's users that it changes, their ``keys``, and the
    changes of each.
    """

    fold: HistoryAggregate
    rows: NDArray[Any]
    keys: list[bytes]
    first: NDArray[Any]
    new: NDArray[Any]

    @classmethod
    def of(
        cls,
        fold: HistoryAggregate,
        letter: bytes,
        folded: StoreContents,
        located: LocatedEvents,
        events: Events,
        users: NDArray[Any],
    ) -> _ListStep:
        places, values = fold.changes(folded.base.meaning, located)
        first, order = grouped(located.user[places], len(users))
        rows = np.flatnonzero(np.diff(first))
        at = places[order]
        new = np.stack([events.time_ms[at], events.number[at].view(np.int64), values[order]], axis=1)
        return cls(fold, rows, records.keys_of(letter, users[rows]), first[[*rows, len(users)]], new)

    def after(
        self, values: list[bytes | None], folded: StoreContents, user_rows: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], int]:
        """(first, states, corrupt entries) of the users after the changes; of the newest shown works, all."""
        found = records.unpack(self.keys, values, 3)
        if self.fold is SHOWN:
            return (*ALL_SHOWN.step_all(found.first, found.rows, self.first, self.new), found.corrupt)
        first, states = _begun(self.fold, found, folded, user_rows[self.rows])
        return (*self.fold.step_all(first, states, self.first, self.new), found.corrupt)


def _begun(
    fold: HistoryAggregate, found: records.Unpacked, folded: StoreContents, user_rows: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(first, states): those that were found, and what the base says of users who have none."""
    if not len(found.missing) or fold.name not in folded.base.relations:
        return found.first, found.rows
    states = [found.rows[found.first[at] : found.first[at + 1]] for at in range(len(user_rows))]
    for at in found.missing.tolist():
        states[at] = fold.of_snapshot(folded.base, int(user_rows[at]))
    return np.cumsum([0, *map(len, states)]), np.concatenate(states)


def _overwrite(
    state: NDArray[Any], keys: list[bytes], values: list[bytes | None], counted: Counter[str]
) -> None:
    """Puts the counters that were found in the place of the base's."""
    found = records.unpack(keys, values, state.shape[1], np.float64)
    counted["corrupt entries"] += found.corrupt
    there = np.ones(len(keys), bool)
    there[found.missing] = False
    state[there] = found.rows
