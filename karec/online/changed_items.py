"""Items and counters that changed since a base, as arrays that never change once published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates import recent
from karec.aggregates.counters import BY_WORK
from karec.aggregates.events import NONE
from karec.catalog.schema import LATEST_MS, is_counter
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table

GROWTH = 1.5  # new capacity of a full array, in rows needed


@dataclass(frozen=True, eq=False)
class ChangedItems:
    """Items at one moment. A request reads one from its first step to its last.

    updates      items that were uploaded or edited since the base: a snapshot with the base's item columns
                 and no users
    uploads      those of them that the base lacks
    hidden_ids   (G,) int64 ascending: deleted or blocked items
    counter_ids  (K,) int64 ascending: items with counters that events changed
    counters     (K, C) float64 of ``counter_ids``, exact sums; readers use float32
    recent       (K, ·) int64 of ``counter_ids``, states of ``karec.aggregates.recent``
    n_batches    number of batches of events so far
    """

    updates: Snapshot
    uploads: Snapshot
    hidden_ids: NDArray[Any]
    counter_ids: NDArray[Any]
    counters: NDArray[Any]
    recent: NDArray[Any]
    n_batches: int = 0

    @classmethod
    def empty(cls, base: Snapshot, n_counters: int, n_recent: int = 0) -> ChangedItems:
        no_ids = np.empty(0, np.int64)
        no_items = items_snapshot(base, base.works.take(no_ids))
        return cls(no_items, no_items, no_ids, no_ids, np.empty((0, n_counters)), recent.empty(0, n_recent))

    def find_rows(self, base: Snapshot, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) int64: row of ``updates`` + len(base.works), else row of ``base``, else −1."""
        rows = base.works.lookup(ids)
        if len(self.updates.works):
            update_rows = self.updates.works.lookup(ids)
            rows = np.where(update_rows >= 0, len(base.works) + update_rows, rows)
        return rows

    def take(self, rows: NDArray[Any]) -> Snapshot:
        """Returns the items in these rows of ``updates``."""
        return items_snapshot(self.updates, self.updates.works.take(rows))

    def compact(self, base: Snapshot, rows: NDArray[Any]) -> tuple[NDArray[Any], Snapshot | None]:
        """Returns rows (N,) and a snapshot of only those items of ``updates`` that ``rows`` refer to.

        ``rows`` are those of ``find_rows``; the new rows index the base, then the returned snapshot. So an
        encoder need not encode all updates. The snapshot is None if no row is an update.

        Cost: O(rows · columns).
        """
        is_update = rows >= len(base.works)
        if not is_update.any():
            return rows, None
        update_rows, places = np.unique(rows[is_update] - len(base.works), return_inverse=True)
        compact_rows = rows.copy()
        compact_rows[is_update] = len(base.works) + places.reshape(-1)
        return compact_rows, self.take(update_rows)

    def find_counters(self, ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (places in ``ids`` (N,) of items with changed counters, their counters (M, C) float32).

        Cost: O(N log K).
        """
        rows = self.find_counter_rows(ids)
        places = np.flatnonzero(rows >= 0)
        return places, BY_WORK.read(self.counters[rows[places]])

    def find_counter_rows(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) int64 rows of ``counters``, −1 for items without changed counters."""
        if not len(self.counter_ids):
            return np.full(len(ids), -1, np.int64)
        rows = np.minimum(np.searchsorted(self.counter_ids, ids), len(self.counter_ids) - 1)
        return np.where(self.counter_ids[rows] == ids, rows, -1)

    def with_counters(
        self, ids: NDArray[Any], counters: NDArray[Any], recent_counters: NDArray[Any]
    ) -> ChangedItems:
        """Returns a copy with the counters (M, ·) of ``ids`` (M,), ascending and unique. Cost: O(K + M)."""
        places = np.searchsorted(self.counter_ids, ids)
        in_range = np.flatnonzero(places < len(self.counter_ids))
        is_known = np.zeros(len(ids), bool)
        is_known[in_range] = self.counter_ids[places[in_range]] == ids[in_range]
        new = np.flatnonzero(~is_known)
        counter_ids = np.insert(self.counter_ids, places[new], ids[new]) if len(new) else self.counter_ids

        def merge(table: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
            table = table.copy()
            table[places[is_known]] = rows[is_known]
            return np.insert(table, places[new], rows[new], axis=0) if len(new) else table

        return self.replace_counters(
            counter_ids, merge(self.counters, counters), merge(self.recent, recent_counters)
        )

    def replace_counters(
        self, ids: NDArray[Any], counters: NDArray[Any], recent_counters: NDArray[Any]
    ) -> ChangedItems:
        """Returns a copy with the counters (K, ·) of ``ids`` (K,), ascending and unique, and no others."""
        return replace(
            self,
            counter_ids=ids,
            counters=counters,
            recent=recent_counters,
            n_batches=self.n_batches + 1,
        )


@dataclass(frozen=True, eq=False)
class IndexUpdate:
    """Changes that an item index must apply.

    rows          items to upsert, as rows of ``ChangedItems.updates``
    time_ms       of each row, the time of its newest upload or edit
    hidden_ids    items to hide
    restored_ids  items that were hidden and are no longer
    platform_ids  {item: its id on the platform}, for items whose upload has one
    adjustments   {"scale" or "offset": {item: the newest value}}
    """

    rows: NDArray[Any]
    time_ms: NDArray[Any]
    hidden_ids: NDArray[Any]
    restored_ids: NDArray[Any]
    platform_ids: Mapping[int, int | str]
    adjustments: Mapping[str, Mapping[int, float]]


def items_snapshot(base: Snapshot, items: Table) -> Snapshot:
    """Returns a snapshot with ``items`` and the labels of ``base``, without users and relations."""
    no_users = base.users.take(np.empty(0, np.int64))
    return Snapshot(base.time_ms, items, no_users, {}, base.labels, None, base.meaning, base.item_type)


class GrowingTable:
    """Table that grows at its end. One thread calls ``put``; a ``table`` that was read before never changes.

    It starts without rows and has the columns of ``like``.
    """

    def __init__(self, like: Table) -> None:
        self.table = like.take(np.empty(0, np.int64))
        self._arrays = {"": self.table.ids, **self.table.columns}

    def put(self, is_removed: NDArray[Any], ids: NDArray[Any], columns: Mapping[str, NDArray[Any]]) -> None:
        """Removes the rows ``is_removed`` (R,) bool and appends ``ids`` (M,) with their ``columns``.

        Cost: amortised O(M · columns) if no row is removed, else O((R + M) · columns).
        """
        n_kept = len(is_removed) - int(np.count_nonzero(is_removed))
        n = n_kept + len(ids)
        new_rows = {"": ids, **columns}
        # Rows that a reader may hold are never overwritten: they move to new arrays.
        if n_kept < len(is_removed) or n > len(self._arrays[""]):
            is_kept = ~is_removed
            for name, array in self._arrays.items():
                larger = np.empty((int(n * GROWTH), *array.shape[1:]), array.dtype)
                larger[:n_kept] = array[: len(is_removed)][is_kept]
                self._arrays[name] = larger
        for name, array in self._arrays.items():
            array[n_kept:n] = new_rows[name]
        columns = {name: self._arrays[name][:n] for name in self.table.columns}
        self.table = Table(self._arrays[""][:n], columns)


def make_cells(values: list[Any], name: str, like: NDArray[Any]) -> NDArray[Any]:
    """Returns the N cells of the column ``name``; a value that is None or does not fit becomes missing.

    ``like``: the column of another table, with the dtype and the width of vectors.
    """
    dtype = like.dtype
    if like.ndim == 2:
        return _make_vectors(values, like.shape[1])
    if is_counter(name):
        return np.array([0 if value is None else value for value in values], dtype)
    if dtype.kind == "b":
        return np.array([bool(value) for value in values], dtype)
    low, high = _bounds(name, dtype)
    if dtype.kind == "f":
        fits = (isinstance(value, int | float) and abs(value) <= high for value in values)
        return np.array([value if fit else np.nan for value, fit in zip(values, fits, strict=True)], dtype)
    missing = max(NONE, low)
    fits = (
        isinstance(value, int | float) and low <= value <= high and value == int(value) for value in values
    )
    return np.array([int(value) if fit else missing for value, fit in zip(values, fits, strict=True)], dtype)


def _make_vectors(values: list[Any], width: int) -> NDArray[Any]:
    """Returns (N, width) float32; zeros for a value that is not a list of so many finite numbers."""
    vectors = np.zeros((len(values), width), np.float32)
    high = float(np.finfo(np.float32).max)
    for row, value in zip(vectors, values, strict=True):
        if isinstance(value, list) and len(value) == width and all(abs(n) <= high for n in value):
            row[:] = value
    return vectors


@cache
def _bounds(name: str, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Returns the lowest and the highest value of a column."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    info = np.iinfo(dtype)
    return int(info.min), min(int(info.max), LATEST_MS) if name.endswith("_ms") else int(info.max)
