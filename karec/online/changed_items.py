"""Works as they are now, beside the base: those that came, changed and went, and counters that events
moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table


@dataclass(frozen=True, eq=False)
class ChangedItems:
    """One moment of works, which never changes: a request reads one from its first step to its last.

    added    works that came or changed since the base, as a snapshot of works alone; its columns are the
             base's
    came     those of them that the base lacks
    gone     (G,) int64 ascending: works that were deleted or blocked
    ids      (K,) int64 ascending: works that events counted for, with their ``counters (K, C) float32``
    batches  how many batches of events made it
    """

    added: Snapshot
    came: Snapshot
    gone: NDArray[Any]
    ids: NDArray[Any]
    counters: NDArray[Any]
    batches: int = 0

    @classmethod
    def none(cls, base: Snapshot, n_counters: int) -> ChangedItems:
        nothing = np.empty(0, np.int64)
        nobody = snapshot_of(base, base.works.take(nothing))
        return cls(nobody, nobody, nothing, nothing, np.empty((0, n_counters), np.float32))

    def rows(self, base: Snapshot, ids: NDArray[Any]) -> NDArray[Any]:
        """(N,) int64 of works: rows of ``base``, len(base.works) + row of ``added``, −1 for one that is in
        neither."""
        rows = base.works.lookup(ids)
        if len(self.added.works):
            here = self.added.works.lookup(ids)
            rows = np.where(here >= 0, len(base.works) + here, rows)
        return rows

    def some(self, rows: NDArray[Any]) -> Snapshot:
        """The works in these rows of ``added``, alone."""
        return snapshot_of(self.added, self.added.works.take(rows))

    def few(self, base: Snapshot, rows: NDArray[Any]) -> tuple[NDArray[Any], Snapshot | None]:
        """``rows`` as ``rows()`` gives them, and the works of ``added`` that they name, alone, None for none:
        a row behind the base's is then one of these. Who encodes these does not encode all that came. O(rows
        · columns).
        """
        behind = rows >= len(base.works)
        if not behind.any():
            return rows, None
        named, at = np.unique(rows[behind] - len(base.works), return_inverse=True)
        found = rows.copy()
        found[behind] = len(base.works) + at.reshape(-1)
        return found, self.some(named)

    def moved(self, ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """(places in ``ids (N,)`` of works that events counted for, their counters (M, C)). O(N log K)."""
        if not len(self.ids):
            return np.empty(0, np.int64), self.counters
        here = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        found = np.flatnonzero(self.ids[here] == ids)
        return found, self.counters[here[found]]

    def with_counters(self, ids: NDArray[Any], counters: NDArray[Any]) -> ChangedItems:
        """The same with the ``counters (M, C)`` of ``ids (M,)``, ascending and unique. O(K + M)."""
        at, table, known = np.searchsorted(self.ids, ids), self.counters.copy(), np.zeros(len(ids), bool)
        within = np.flatnonzero(at < len(self.ids))
        known[within] = self.ids[at[within]] == ids[within]
        table[at[known]] = counters[known]
        new = np.flatnonzero(~known)
        if not len(new):
            return replace(self, counters=table, batches=self.batches + 1)
        both = np.insert(self.ids, at[new], ids[new]), np.insert(table, at[new], counters[new], axis=0)
        return replace(self, ids=both[0], counters=both[1], batches=self.batches + 1)


@dataclass(frozen=True, eq=False)
class Changed:
    """What an index must take over: works to put in, by their rows in ``added``, each with the moment
    ``time_ms`` of its newest upload or edit; works to hide, and those that were hidden and are not any more.
    ``names`` {work: its id on the platform}, where it says one. ``adjusted`` {"scale" or "offset": {work: the
    newest}}.
    """

    rows: NDArray[Any]
    time_ms: NDArray[Any]
    hidden: NDArray[Any]
    back: NDArray[Any]
    names: Mapping[int, int | str]
    adjusted: Mapping[str, Mapping[int, float]]


def snapshot_of(base: Snapshot, works: Table) -> Snapshot:
    """Works alone: no users, no lists."""
    nobody = base.users.take(np.empty(0, np.int64))
    return Snapshot(base.time_ms, works, nobody, {}, base.labels, None, base.meaning)
