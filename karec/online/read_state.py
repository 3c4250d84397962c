"""What is known of a user, or of works, up to this second: the store's entries, and the base where it has
none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.counters import BY_USER, BY_USER_SCENE, BY_WORK
from karec.aggregates.fading_counters import RECENT_BY_WORK
from karec.aggregates.histories import LIST_FOLDS, SHOWN
from karec.catalog.relation import Relation
from karec.kernels import shown_filter
from karec.kernels.fold_lists import VALUE
from karec.online.shown_history import WIDTH
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.store import StateStore


@dataclass(frozen=True, eq=False)
class UserState:
    """``lists`` {"history", "skipped", "liked", "follows", "shown": a Relation of one row, oldest first};
    ``counters (C,)`` and ``scene_counters (S, C)`` float32, in the order of ``StoreContents.counters``.
    ``shown``: the works that the user was shown of late, the last 1,000 or a few more; ``earlier (F, ·)``:
    filters of those before them.
    """

    lists: Mapping[str, Relation]
    counters: NDArray[Any]
    scene_counters: NDArray[Any]
    shown: NDArray[Any]
    earlier: NDArray[Any]

    def was_shown(self, ids: NDArray[Any]) -> NDArray[Any]:
        """(N,) bool of works: which were shown to the user, of those of earlier periods nearly always
        right."""
        return np.asarray(np.isin(ids, self.shown) | self.was_shown_earlier(ids))

    def was_shown_earlier(self, ids: NDArray[Any]) -> NDArray[Any]:
        """``was_shown`` by the filters alone: of works that are not among ``shown``."""
        return shown_filter.held(self.earlier, np.asarray(ids, np.int64))


@dataclass(eq=False)
class StateReader:
    """Reads ``store``; ``counts["corrupt entries"]`` were taken as missing. Threads may share it where they
    may share the store.

    An event that was committed is in the next read, whatever its moment: one of the very millisecond of a
    request counts for it, where a training row of that millisecond knows only what was strictly before.
    """

    store: StateStore
    folded: StoreContents
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.folded.check(self.store)

    def user(self, user_id: int) -> UserState:
        """One read of eight keys. A user who is nowhere has empty lists and counters of 0."""
        base, names = self.folded.base, self.folded.counters
        keys = [records.keys_of(letter, np.array([user_id]))[0] for letter in _LETTERS]
        values = self.store.read(keys)
        row = int(base.users.lookup(np.array([user_id]))[0])
        lists = {}
        for at, fold in enumerate((*LIST_FOLDS, SHOWN)):
            found = records.unpack(keys[at : at + 1], values[at : at + 1], 3)
            self.counts["corrupt entries"] += found.corrupt
            lists[fold.name] = found.rows if not len(found.missing) else fold.of_snapshot(base, row)
        newest = records.unpack(keys[-3:-2], values[-3:-2], 3)
        older = lists["shown"]
        shown = np.concatenate([older[:, VALUE], newest.rows[:, VALUE]])
        lists["shown"] = SHOWN.step_all(np.array([0, len(older)]), older, newest.first, newest.rows)[1]
        counters = records.unpack(keys[-2:-1], values[-2:-1], len(names), np.float64)
        earlier = records.unpack(keys[-1:], values[-1:], WIDTH)
        self.counts["corrupt entries"] += newest.corrupt + counters.corrupt + earlier.corrupt
        state = counters.rows
        if len(state) != 1 + base.n_scenes:
            in_scenes = (
                row * base.n_scenes + np.arange(base.n_scenes) if row >= 0 else np.full(base.n_scenes, -1)
            )
            of_scenes = BY_USER_SCENE.of_snapshot(base, in_scenes, names)
            state = np.concatenate([BY_USER.of_snapshot(base, np.array([row]), names), of_scenes])
        read = {fold.name: fold.read(lists[fold.name]) for fold in (*LIST_FOLDS, SHOWN)}
        words = np.ascontiguousarray(earlier.rows[:, 1:])
        return UserState(read, BY_USER.read(state[0]), BY_USER_SCENE.read(state[1:]), shown, words)

    def works(self, work_ids: NDArray[Any]) -> NDArray[Any]:
        """(N, C) float32 counters of ``work_ids (N,)``, in one read; 0 for one that is nowhere."""
        keys, names = records.keys_of(records.WORK_COUNTERS, work_ids), self.folded.counters
        found = records.unpack(keys, self.store.read(keys), len(names), np.float64)
        self.counts["corrupt entries"] += found.corrupt
        state = BY_WORK.of_snapshot(self.folded.base, self.folded.base.works.lookup(work_ids), names)
        there = np.ones(len(keys), bool)
        there[found.missing] = False
        state[there] = found.rows
        return BY_WORK.read(state)

    def recent(self, work_ids: NDArray[Any], as_of_ms: int) -> NDArray[Any]:
        """(N, C) float32 counters of ``work_ids (N,)`` that fade, in one read; 0 for one that no event
        named."""
        keys = records.keys_of(records.WORK_RECENT, work_ids)
        found = records.unpack(keys, self.store.read(keys), 1 + len(self.folded.counters))
        self.counts["corrupt entries"] += found.corrupt
        return RECENT_BY_WORK.read(found.first, found.rows, as_of_ms)


_LETTERS = (
    *(records.USER_LISTS[fold.name] for fold in LIST_FOLDS),
    *(records.OLDER_SHOWN, records.NEWEST_SHOWN, records.USER_COUNTERS, records.EARLIER_SHOWN),
)
