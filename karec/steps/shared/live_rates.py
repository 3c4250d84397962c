"""Newest indicators of items: those of the snapshot, with the counters of the online store in their place."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from karec.aggregates import recent
from karec.aggregates.indicators import indicator_weights, smoothed_rates
from karec.aggregates.rates import smoothed_rate
from karec.aggregates.recent import HALF_LIFE_MS, HALF_LIVES
from karec.catalog.schema import CREATOR, EXPOSED, counter
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.pipeline.types import Array, Request

if TYPE_CHECKING:  # a process without an online store must not load Numba
    from karec.online.view import OnlineView

STEPS = 64  # in a half-life: rates without new events are at most this old


@dataclass(frozen=True, eq=False)
class Rates:
    """Indicators of W works of a snapshot, then of U uploads.

    values  (W + U,) float32, Σ weight · rate
    mean    that of all items
    """

    works: Table
    uploads: Table | None
    values: Array
    mean: float

    def values_of(self, ids: Array) -> Array:
        """Returns (N,) float32 of ``ids``, the mean for unknown items. O(N log W)."""
        rows = self.works.lookup(ids)
        if self.uploads is not None:
            new = self.uploads.lookup(ids)
            rows = np.where((rows < 0) & (new >= 0), len(self.works) + new, rows)
        return np.where(rows < 0, np.float32(self.mean), self.values[rows])

    @property
    def ids(self) -> Array:
        """(W + U,) ids of the items."""
        uploaded = [] if self.uploads is None else [self.uploads.ids]
        return np.concatenate([self.works.ids, *uploaded])

    def best(self, n: int, allowed: Array | None = None) -> Array:
        """Returns the ids of the n highest values, ties by row. O(W + n log n).

        ``allowed``: (W + U,) bool, the items that may be returned. None: all.
        """
        values = self.values if allowed is None else np.where(allowed, self.values, -np.inf)
        bound = -np.partition(-values, n - 1)[n - 1] if n < len(values) else -np.inf
        rows = np.flatnonzero((values >= bound) & (values > -np.inf))
        return self.ids[rows[np.argsort(-values[rows], kind="stable")][:n]]


def live_rates(
    snapshot: Snapshot, weights: Mapping[str, float] | None, by: str | None, half_life: str | None
) -> LiveRates:
    """Returns the ``LiveRates`` of these settings, one for all steps on ``snapshot``."""
    key = ("live rates", by, half_life, *sorted(indicator_weights(snapshot, weights).items()))
    return snapshot.built.get(key, lambda: LiveRates(snapshot, weights, by, half_life))


class LiveRates:
    """Indicators as of the last poll of the online store; without a store those of the snapshot.

    ``by``: column of works; items with the same value share one rate, those with a negative value have the
    mean. None: each item has its own rate.
    ``half_life``: rates of recent events, smoothed towards the rates of all events. None: all events.

    Any thread may call. Raises ValueError for a label without the counters, and for an unknown column.

    Cost: O(works · labels) once for each poll that has new events, then O(1) per request.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        weights: Mapping[str, float] | None,
        by: str | None = None,
        half_life: str | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.weights = indicator_weights(snapshot, weights)
        columns = snapshot.works.columns
        if by is not None and (by not in columns or columns[by].dtype.kind not in "iu"):
            integers = sorted(name for name, column in columns.items() if column.dtype.kind in "iu")
            raise ValueError(f"by = {by!r} is not an integer column of items; these are {integers}")
        if half_life not in (None, *HALF_LIVES):
            raise ValueError(f"half_life is {half_life!r}, expected one of {HALF_LIVES}")
        labels = recent.recent_labels(snapshot.meaning)
        if half_life is not None and not self.weights.keys() <= labels:
            raise ValueError(
                f"weights have {sorted(self.weights.keys() - labels)}, expected some of {sorted(labels)}: "
                "other labels have no recent counters"
            )
        self.by = by
        self.half_life = half_life
        self._group_column = by or CREATOR
        self._groups: tuple[Array, Array] | None = None
        if self._group_column in columns:
            self._groups = np.unique(columns[self._group_column], return_inverse=True)
        self._latest_ms = 0
        self._frozen = self._compute(None, 0)
        self._computing = Lock()
        self._newest: tuple[Array, Snapshot, int, Rates] | None = None

    def read(self, request: Request) -> Rates:
        """Returns the rates at the time of the request, or at a later time that was read before."""
        online = request.online
        if online is None or not (len(online.items.counter_ids) or len(online.items.uploads.works)):
            return self._frozen
        counters, uploads, step = online.items.counters, online.items.uploads, 0
        if self.half_life is not None:
            # A clock that jumps back must not let recent counters grow. A caller may send any time.
            now_ms = min(request.time_ms or 0, time.time_ns() // 1_000_000)
            self._latest_ms = max(self._latest_ms, now_ms)
            step = self._latest_ms * STEPS // int(HALF_LIFE_MS[HALF_LIVES.index(self.half_life)])
        newest = self._newest
        if newest is not None and newest[0] is counters and newest[1] is uploads and newest[2] == step:
            return newest[3]
        # One request computes; others read the former rates meanwhile.
        if not self._computing.acquire(blocking=False):
            return self._frozen if newest is None else newest[3]
        try:
            rates = self._compute(online, self._latest_ms)
            self._newest = counters, uploads, step, rates
        finally:
            self._computing.release()
        return rates

    def _compute(self, online: OnlineView | None, time_ms: int) -> Rates:
        works = self.snapshot.works
        uploads = None if online is None else online.items.uploads.works
        n = len(works) + (0 if uploads is None else len(uploads))
        changed = _Changed.from_view(online, works, uploads, self.half_life, time_ms)
        group = self._group(uploads)
        is_ungrouped = np.zeros(n, bool)
        if self.by is not None:
            tables = [works] if uploads is None else [works, uploads]
            is_ungrouped = np.concatenate([table[self.by] for table in tables]) < 0

        def read_all(name: str) -> Array:
            values = np.zeros(n)
            values[: len(works)] = works[name]
            values[changed.rows] = changed.counters.get(name, values[changed.rows])
            return values

        def read_recent(name: str) -> Array:
            values: Array = np.zeros(n)
            values[changed.rows] = changed.recent.get(name, 0.0)
            if self.by is not None and group is not None:
                values = np.bincount(group, values)[group]
            return np.where(is_ungrouped, 0.0, values)

        shows, total, means = read_all(EXPOSED), np.zeros(n), 0.0
        recent_shows = None if self.half_life is None else read_recent(EXPOSED)
        for label, weight in self.weights.items():
            positives = read_all(counter(label))
            rates, mean = smoothed_rates(positives, shows, group, by_group=self.by is not None)
            rates = np.where(is_ungrouped, mean, rates)
            if recent_shows is not None:
                rates = smoothed_rate(read_recent(counter(label)), recent_shows, rates)
            total += weight * rates
            means += weight * mean
        return Rates(works, uploads, total.astype(np.float32), means)

    def _group(self, uploads: Table | None) -> Array | None:
        """Returns (W + U,) numbers from 0 of the values of the group column; None without the column."""
        if self._groups is None:
            return None
        values, group = self._groups
        if uploads is None or not len(uploads):
            return group
        new_values, new = np.unique(uploads[self._group_column], return_inverse=True)
        places = np.minimum(np.searchsorted(values, new_values), len(values) - 1)
        is_known = values[places] == new_values
        numbers = np.where(is_known, places, len(values) + np.cumsum(~is_known) - 1)
        return np.concatenate([group, numbers[new]])


@dataclass(frozen=True, eq=False)
class _Changed:
    """Items with counters that changed since the snapshot.

    rows      (K,) rows of works, then of uploads
    counters  {name: (K,) float64}
    recent    {name: (K,) float64} recent counters, at most the counters; empty without a half-life
    """

    rows: Array
    counters: Mapping[str, Array]
    recent: Mapping[str, Array]

    @classmethod
    def from_view(
        cls,
        online: OnlineView | None,
        works: Table,
        uploads: Table | None,
        half_life: str | None,
        time_ms: int,
    ) -> _Changed:
        if online is None or uploads is None:
            return cls(np.empty(0, np.int64), {}, {})
        items = online.items
        rows, new = works.lookup(items.counter_ids), uploads.lookup(items.counter_ids)
        rows = np.where((rows < 0) & (new >= 0), len(works) + new, rows)
        places = np.flatnonzero(rows >= 0)
        counters = dict(zip(online.counter_names, items.counters[places].T, strict=True))
        values: Mapping[str, Array] = {}
        if half_life is not None:
            columns = recent.read(items.recent[places], half_life, time_ms).T
            pairs = zip(online.recent_names, columns, strict=True)
            values = {name: np.minimum(column, counters[name]) for name, column in pairs}
        return cls(rows[places], counters, values)
