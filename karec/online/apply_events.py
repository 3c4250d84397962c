"""Computes the state of users and items after new events, by the aggregates' own ``step_all``.

The effect of an event depends only on the event and the base, so the order in which the events of several
processes arrive changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates import recent
from karec.aggregates.counters import BY_USER, BY_USER_SCENE, BY_WORK, add_recent
from karec.aggregates.events import LIFECYCLE_KINDS, NONE, WORK, Events
from karec.aggregates.histories import MUTED, SHOWN, HistoryAggregate, lists_of
from karec.aggregates.located_events import AGGREGATED_KINDS, LocatedEvents
from karec.kernels.aggregates import group_by_row
from karec.online.lifecycle import ItemLifecycle, select_lifecycle_events
from karec.online.shown_history import ALL_SHOWN, spill
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import Read, StateUpdate


@dataclass(eq=False)
class EventApplier:
    """The ``Update`` of a store for one base. Any thread may call.

    ``counts`` of events since this object was made; a call that the store repeats counts again:
        "counted", "before the bundle", "not aggregated"
        "lifecycle": events of items and creators; of these "unreadable text"
        "unknown user", "unknown item": counted events whose user or item is not in the base
        "repeated": events that the store had already
        "corrupt entries": entries that were replaced by the values of the base
    """

    contents: StoreContents
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, events: Events, read: Read) -> StateUpdate:
        """Returns the effect of ``events`` (M,), in any order. None of them was applied before."""
        counts: Counter[str] = Counter()
        entries: dict[bytes, bytes | None] = {}
        base_counters: dict[bytes, bytes] = {}
        is_lifecycle = np.isin(events.kind, LIFECYCLE_KINDS)
        is_aggregated = np.isin(events.kind, AGGREGATED_KINDS)
        is_early = events.time_ms < self.contents.base.time_ms
        is_counted = is_aggregated & ~is_early
        counts["lifecycle"] = int(is_lifecycle.sum())
        counts["not aggregated"] = int((~is_aggregated & ~is_lifecycle).sum())
        counts["before the bundle"] = int((is_aggregated & is_early).sum())
        counts["counted"] = int(is_counted.sum())

        def read_newest(keys: Sequence[bytes]) -> list[bytes | None]:
            """Reads entries of this call first, then the store: item types share some keys."""
            return [entries.get(key, value) for key, value in zip(keys, read(keys), strict=True)]

        for item_type in self.contents.by_type.keys() & {*events.item_type.tolist()}:
            contents = self.contents.by_type[item_type]
            lifecycle_events = select_lifecycle_events(events, item_type)
            if len(lifecycle_events):
                letter = contents.letter(records.WORK_LIFE)
                lifecycle = ItemLifecycle.from_events(read_newest, lifecycle_events, counts, letter)
                entries |= lifecycle.apply(lifecycle_events, counts).to_entries(letter)
            counted_events = events.take(is_counted & (events.item_type == item_type))
            if len(counted_events):
                self._update_aggregates(contents, counted_events, read_newest, entries, base_counters, counts)
        self.counts += counts
        return StateUpdate(entries, base_counters, is_counted)

    def _update_aggregates(
        self,
        contents: StoreContents,
        events: Events,
        read: Read,
        entries: dict[bytes, bytes | None],
        base_counters: dict[bytes, bytes],
        counts: Counter[str],
    ) -> None:
        """Adds the entries of users and items after ``events`` to ``entries``.

        Users have counters of works only: no model reads those of other item types.
        """
        base, head = contents.base, contents.head
        users, user_places = np.unique(events.user_id, return_inverse=True)
        items, item_places = np.unique(events.item_id, return_inverse=True)
        user_rows, item_rows = base.users.lookup(users), base.works.lookup(items)
        has_item = events.item_id >= 0
        located = LocatedEvents.from_rows(
            base, head, events, user_places, np.where(has_item, item_places, -1), item_rows[item_places]
        )
        counts["unknown user"] = int((user_rows[user_places] < 0).sum())
        counts["unknown item"] = int(((item_rows[item_places] < 0) & has_item).sum())
        letters = {SHOWN: records.NEWEST_SHOWN} | {
            aggregate: records.USER_LISTS[aggregate.name] for aggregate in (*lists_of(base.meaning), MUTED)
        }
        updates = [
            _ListUpdate.from_events(aggregate, contents.letter(letter), contents, located, events, users)
            for aggregate, letter in letters.items()
        ]
        updates = [update for update in updates if len(update.keys)]
        counts_users = contents.item_type == WORK
        user_keys = records.keys_of(records.USER_COUNTERS, users) if counts_users else []
        item_keys = records.keys_of(contents.letter(records.WORK_COUNTERS), items)
        recent_keys = records.keys_of(contents.letter(records.RECENT_COUNTERS), items)
        groups = [*(update.keys for update in updates), user_keys, item_keys, recent_keys]
        values = read([key for keys in groups for key in keys])
        cuts = np.cumsum([0, *map(len, groups)]).tolist()
        for update, begin, end in zip(updates, cuts, cuts[1:], strict=False):
            first, states, n_corrupt = update.apply(values[begin:end], contents, user_rows)
            counts["corrupt entries"] += n_corrupt
            entries |= records.pack_rows(update.keys, first, states)
            if update.aggregate is SHOWN:
                entries |= spill(read, contents, users[update.rows], first, states, counts)
        user_values, item_values, recent_values = (values[begin:end] for begin, end in pairwise(cuts[-4:]))
        if counts_users:
            entries |= self._user_counters(user_keys, user_values, located, user_rows, counts)
        entries |= self._item_counters(item_keys, item_values, located, counts)
        entries |= _recent_counters(contents, recent_keys, recent_values, located, counts)
        base_counters |= _base_counters(contents, items, item_values, item_rows)
        if items[0] == NONE:  # Follows have no item.
            del entries[item_keys[0]], entries[recent_keys[0]]

    def _user_counters(
        self,
        keys: list[bytes],
        values: list[bytes | None],
        located: LocatedEvents,
        rows: NDArray[Any],
        counts: Counter[str],
    ) -> dict[bytes, bytes]:
        base, names = self.contents.base, self.contents.counters
        n_users, n_scenes, width = len(keys), base.n_scenes, len(names)
        state = np.empty((n_users, 1 + n_scenes, width))
        state[:, 0] = BY_USER.read_snapshot(base, rows, names)
        scene_rows = np.where(rows[:, None] >= 0, rows[:, None] * n_scenes + np.arange(n_scenes), -1)
        base_counters = BY_USER_SCENE.read_snapshot(base, scene_rows.ravel(), names)
        state[:, 1:] = base_counters.reshape(n_users, n_scenes, width)
        _overwrite(state.reshape(n_users, -1), keys, values, counts)
        by_user = np.ascontiguousarray(state[:, 0])
        by_scene = np.ascontiguousarray(state[:, 1:]).reshape(-1, width)
        BY_USER.step_all(by_user, located, names)
        BY_USER_SCENE.step_all(by_scene, located, names)
        state[:, 0] = by_user
        state[:, 1:] = by_scene.reshape(n_users, n_scenes, width)
        return records.pack_rows(keys, np.arange(n_users + 1), state.reshape(n_users, -1))

    def _item_counters(
        self, keys: list[bytes], values: list[bytes | None], located: LocatedEvents, counts: Counter[str]
    ) -> dict[bytes, bytes]:
        """Returns the counts of items since the store began."""
        state = BY_WORK.empty(len(keys), self.contents.counters)
        _overwrite(state, keys, values, counts)
        BY_WORK.step_all(state, located, self.contents.counters)
        return records.pack_rows(keys, np.arange(len(keys) + 1), state)


@dataclass(frozen=True, eq=False)
class _ListUpdate:
    """Changes of one list of users by one batch.

    ``rows``: the batch's users whose list changes, with their ``keys``; ``new`` (E, 3): their changes, in CSR
    form by ``first``.
    """

    aggregate: HistoryAggregate
    rows: NDArray[Any]
    keys: list[bytes]
    first: NDArray[Any]
    new: NDArray[Any]

    @classmethod
    def from_events(
        cls,
        aggregate: HistoryAggregate,
        letter: bytes,
        contents: StoreContents,
        located: LocatedEvents,
        events: Events,
        users: NDArray[Any],
    ) -> _ListUpdate:
        changes, values = aggregate.changes(contents.base.meaning, located)
        first, order = group_by_row(located.user[changes], len(users))
        rows = np.flatnonzero(np.diff(first))
        changes = changes[order]
        numbers = events.number[changes].view(np.int64)
        new = np.stack([events.time_ms[changes], numbers, values[order]], axis=1)
        return cls(aggregate, rows, records.keys_of(letter, users[rows]), first[[*rows, len(users)]], new)

    def apply(
        self, values: list[bytes | None], contents: StoreContents, user_rows: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], int]:
        """Returns (first, states, corrupt entries) after the changes; of shown items, all the newest."""
        entries = records.unpack(self.keys, values, 3)
        if self.aggregate is SHOWN:
            lists = ALL_SHOWN.step_all(entries.first, entries.rows, self.first, self.new)
        else:
            first, states = _with_base(self.aggregate, entries, contents, user_rows[self.rows])
            lists = self.aggregate.step_all(first, states, self.first, self.new)
        return (*lists, entries.corrupt)


def _with_base(
    aggregate: HistoryAggregate,
    entries: records.UnpackedValues,
    contents: StoreContents,
    user_rows: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (first, states) of the entries; users without one have the base's state."""
    if not len(entries.missing) or aggregate.name not in contents.base.relations:
        return entries.first, entries.rows
    states = [entries.rows[begin:end] for begin, end in pairwise(entries.first)]
    for place in entries.missing.tolist():
        states[place] = aggregate.read_snapshot(contents.base, int(user_rows[place]))
    return np.cumsum([0, *map(len, states)]), np.concatenate(states)


def _recent_counters(
    contents: StoreContents,
    keys: list[bytes],
    values: list[bytes | None],
    located: LocatedEvents,
    counts: Counter[str],
) -> dict[bytes, bytes]:
    names = contents.recent_counters
    state = recent.empty(len(keys), len(names))
    entries = records.unpack(keys, values, state.shape[1])
    counts["corrupt entries"] += entries.corrupt
    state[np.diff(entries.first) > 0] = entries.rows
    state = add_recent(state, located, names)
    return records.pack_rows(keys, np.arange(len(keys) + 1), state)


def _base_counters(
    contents: StoreContents, items: NDArray[Any], values: list[bytes | None], rows: NDArray[Any]
) -> dict[bytes, bytes]:
    """Returns the base's counters of the items that this partition did not count before."""
    is_first = np.array([value is None for value in values]) & (items >= 0)
    state = BY_WORK.read_snapshot(contents.base, rows[is_first], contents.counters)
    keys = records.keys_of(contents.letter(records.BASE_COUNTERS), items[is_first])
    return records.pack_rows(keys, np.arange(len(keys) + 1), state)


def _overwrite(
    state: NDArray[Any], keys: list[bytes], values: list[bytes | None], counts: Counter[str]
) -> None:
    """Replaces the base's counters by the stored ones."""
    entries = records.unpack(keys, values, state.shape[1], np.float64)
    counts["corrupt entries"] += entries.corrupt
    is_stored = np.ones(len(keys), bool)
    is_stored[entries.missing] = False
    state[is_stored] = entries.rows
