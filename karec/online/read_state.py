"""Reads aggregates of users from the online store, or from the base if the store has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.counters import BY_USER, BY_USER_SCENE
from karec.aggregates.histories import MUTED, SHOWN, lists_of
from karec.catalog.relation import Relation
from karec.kernels import shown_filter
from karec.kernels.ordered_lists import VALUE
from karec.online.shown_history import WIDTH
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import OnlineStore

_OTHER_KEYS = (records.OLDER_SHOWN, records.NEWEST_SHOWN, records.USER_COUNTERS, records.EARLIER_SHOWN)


@dataclass(frozen=True, eq=False)
class UserState:
    """Aggregates of one user.

    lists            {"history", "skipped", "liked", "follows", "muted", "shown": Relation of one row, oldest
                     first}, and "consumed" if a label means it
    counters         (C,) float32, in the order of ``StoreContents.counters``
    scene_counters   (S, C) float32
    recent_shown     ids of the last 1,000 or a few more items shown to the user
    earlier_filters  (F, ·) filters of the items shown before these
    """

    lists: Mapping[str, Relation]
    counters: NDArray[Any]
    scene_counters: NDArray[Any]
    recent_shown: NDArray[Any]
    earlier_filters: NDArray[Any]

    def has_seen(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) bool: True for items shown to the user; of the earlier ones with rare errors."""
        return np.asarray(np.isin(ids, self.recent_shown) | self.has_seen_earlier(ids))

    def has_seen_earlier(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) bool by the filters only, for items that are not in ``recent_shown``."""
        return shown_filter.contains(self.earlier_filters, np.asarray(ids, np.int64))


@dataclass(eq=False)
class StateReader:
    """Reads ``store``. Any thread may call.

    A read contains every committed event, whatever its time: an event in the millisecond of a request counts
    for the request. A training row contains only events strictly before its millisecond. Corrupt entries are
    taken as missing and counted in ``counts["corrupt entries"]``.
    """

    store: OnlineStore
    contents: StoreContents
    counts: Counter[str] = field(default_factory=Counter)

    def read_user(self, user_id: int) -> UserState:
        """Reads nine or ten keys at once. An unknown user has empty lists and counters of 0."""
        return self.read_states(user_id, (self.contents,))[0]

    def read_states(
        self,
        user_id: int,
        contents: Sequence[StoreContents],
        entries: Mapping[bytes, bytes | None] = MappingProxyType({}),
    ) -> list[UserState]:
        """Reads the states of a user for several item types at one moment. ``entries`` replace those of the
        store."""
        keys = [_user_keys(user_id, one) for one in contents]
        all_keys = [*chain.from_iterable(keys)]
        stored = self.store.read_user(user_id, all_keys)
        values = iter(entries.get(key, value) for key, value in zip(all_keys, stored, strict=True))
        return [
            self._parse(user_id, one, own, [*islice(values, len(own))])
            for one, own in zip(contents, keys, strict=True)
        ]

    def _parse(
        self, user_id: int, contents: StoreContents, keys: list[bytes], values: list[bytes | None]
    ) -> UserState:
        base, names = contents.base, contents.counters
        aggregates = (*lists_of(base.meaning), MUTED, SHOWN)
        row = int(base.users.lookup(np.array([user_id]))[0])
        lists = {}
        for place, aggregate in enumerate(aggregates):
            entry = records.unpack(keys[place : place + 1], values[place : place + 1], 3)
            self.counts["corrupt entries"] += entry.corrupt
            lists[aggregate.name] = aggregate.read_snapshot(base, row) if len(entry.missing) else entry.rows
        newest = records.unpack(keys[-3:-2], values[-3:-2], 3)
        older = lists["shown"]
        recent_shown = np.concatenate([older[:, VALUE], newest.rows[:, VALUE]])
        lists["shown"] = SHOWN.step_all(np.array([0, len(older)]), older, newest.first, newest.rows)[1]
        counters = records.unpack(keys[-2:-1], values[-2:-1], len(names), np.float64)
        earlier = records.unpack(keys[-1:], values[-1:], WIDTH)
        self.counts["corrupt entries"] += newest.corrupt + counters.corrupt + earlier.corrupt
        state = counters.rows
        if len(state) != 1 + base.n_scenes:
            scenes = np.arange(base.n_scenes)
            scene_rows = row * base.n_scenes + scenes if row >= 0 else np.full(base.n_scenes, -1)
            in_scenes = BY_USER_SCENE.read_snapshot(base, scene_rows, names)
            state = np.concatenate([BY_USER.read_snapshot(base, np.array([row]), names), in_scenes])
        return UserState(
            {aggregate.name: aggregate.read(lists[aggregate.name]) for aggregate in aggregates},
            BY_USER.read(state[0]),
            BY_USER_SCENE.read(state[1:]),
            recent_shown,
            np.ascontiguousarray(earlier.rows[:, 1:]),
        )


def _user_keys(user_id: int, contents: StoreContents) -> list[bytes]:
    """Returns the keys of the lists of ``lists_of`` and MUTED, then of _OTHER_KEYS."""
    lists = (*lists_of(contents.base.meaning), MUTED)
    letters = (*(records.USER_LISTS[aggregate.name] for aggregate in lists), *_OTHER_KEYS)
    return [records.keys_of(contents.letter(letter), np.array([user_id]))[0] for letter in letters]
