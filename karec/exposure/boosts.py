"""Score boosts of new items and creators below their guarantee, and the items that exploration draws from.

All boosts are computed once per minute of the pages' clock; between two minutes only those of shown units.
Cost: O(units) per minute, O(shown + MAX_UNDEREXPOSED · log units) per update.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.rates import PRIOR_SHOWS, mean_rate
from karec.catalog import schema
from karec.catalog.snapshot import Snapshot
from karec.exposure.arrays import NO_IDS, SparseValues
from karec.exposure.guarantees import GuaranteeCounts, NewUnits, PublishedItems, newest_per_creator
from karec.index import ItemIndex
from karec.times import HOUR_MS

MAX_UNDEREXPOSED = 4_096  # most items that exploration draws from: those with the largest lag
N_DRAWS = 32  # underexposed items per request of which Thompson sampling takes the best
MIN_MEAN_RATE = 0.01  # for a platform without positive outcomes
BOOST_MS = HOUR_MS // 60  # period of the computation of all boosts, by the pages' clock
NEW_UNITS_MS = HOUR_MS // 6  # period of the search of the index for new units, by the requests' time

ItemsOfUnits = tuple[NDArray[Any], NDArray[Any]]  # items, and the unit of each: itself, or its creator


class SnapshotRates:
    """Impressions and positive outcomes of items up to the snapshot's time; 0 if it has none."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        columns = {} if snapshot is None else snapshot.works.columns
        counters = [] if snapshot is None else [schema.counter(label) for label in snapshot.meaning.enjoyed]
        counters = [name for name in counters if name in columns]
        self._items = None if snapshot is None else snapshot.works
        self._impressions = columns.get(schema.EXPOSED)
        self._positives = None
        self._mean = 0.5
        if counters and self._impressions is not None:
            self._positives = columns[counters[-1]]
            self._mean = max(mean_rate(self._positives, self._impressions), MIN_MEAN_RATE)

    def impressions(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) float64; 0 for unknown items."""
        return self._counts(self._impressions, ids)

    def beta(self, ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (α (N,), β (N,)) of each item's rate of positive outcomes.

        The prior is ``PRIOR_SHOWS`` impressions at the mean rate.
        """
        positives, impressions = self._counts(self._positives, ids), self.impressions(ids)
        alpha = PRIOR_SHOWS * self._mean + positives
        return alpha, PRIOR_SHOWS * (1.0 - self._mean) + np.maximum(impressions - positives, 0.0)

    def _counts(self, column: NDArray[Any] | None, ids: NDArray[Any]) -> NDArray[Any]:
        if column is None or self._items is None or not len(ids):
            return np.zeros(len(ids))
        rows = self._items.lookup(ids)
        return np.where(rows >= 0, np.asarray(column)[rows], 0.0).astype(np.float64)


@dataclass(frozen=True, eq=False)
class UnderexposedItems:
    """Items whose unit is below its guarantee, largest lag first. Nothing changes it.

    ids         (B,) int64
    units       (B,) int64: the item itself, or its creator
    guarantees  (B,) int64: the position of the unit's guarantee
    alpha, beta (B,) parameters of the Beta distribution of the item's rate
    """

    ids: NDArray[Any]
    units: NDArray[Any]
    guarantees: NDArray[Any]
    alpha: NDArray[Any]
    beta: NDArray[Any]

    @classmethod
    def from_counts(
        cls,
        counts: Sequence[GuaranteeCounts],
        items: Sequence[ItemsOfUnits],
        now_ms: int,
        rates: SnapshotRates,
    ) -> Self:
        ids, units, numbers = NO_IDS, NO_IDS, NO_IDS
        lags = np.empty(0)
        for i, (guarantee, (candidates, keys)) in enumerate(zip(counts, items, strict=True)):
            lag = guarantee.lags(keys, now_ms)
            selected = np.flatnonzero(lag > 0)
            if len(selected) > MAX_UNDEREXPOSED:
                selected = selected[np.argpartition(-lag[selected], MAX_UNDEREXPOSED)[:MAX_UNDEREXPOSED]]
            ids, units = np.append(ids, candidates[selected]), np.append(units, keys[selected])
            numbers, lags = np.append(numbers, np.full(len(selected), i)), np.append(lags, lag[selected])
        order = np.lexsort((ids, -lags))
        order = order[np.sort(np.unique(ids[order], return_index=True)[1])][:MAX_UNDEREXPOSED]
        return cls(ids[order], units[order], numbers[order], *rates.beta(ids[order]))

    def without_caught_up(self, counts: Sequence[GuaranteeCounts], now_ms: int) -> UnderexposedItems:
        """Returns the items whose unit is still below its guarantee."""
        lags = np.zeros(len(self.ids))
        for i, guarantee in enumerate(counts):
            is_member = self.guarantees == i
            lags[is_member] = guarantee.lags(self.units[is_member], now_ms)
        keep = lags > 0
        if keep.all():
            return self
        fields = (self.ids, self.units, self.guarantees, self.alpha, self.beta)
        return UnderexposedItems(*(values[keep] for values in fields))

    def sample(self, seed: int, seen_ids: Collection[int], n: int) -> NDArray[Any]:
        """Returns (≤ n,) int64 ids by Thompson sampling, the largest draw first.

        ``N_DRAWS`` items, those with a larger lag more often, draw from their Beta distributions. The same
        seed gives the same items; ``seen_ids`` are left out.
        """
        if not n or not len(self.ids):
            return NO_IDS
        rng = np.random.default_rng(seed)
        positions = np.unique((len(self.ids) * rng.random(N_DRAWS) ** 2).astype(np.int64))
        draws = rng.beta(self.alpha[positions], self.beta[positions])
        ids = self.ids[positions[np.argsort(-draws, kind="stable")]]
        return np.array([item for item in ids.tolist() if item not in seen_ids][:n], np.int64)


class GuaranteeBoosts:
    """Boosts (≤ 0) of the units of ``counts``, kept up to date with their impressions and with the index.

    by_item       values by item id
    by_creator    values by creator id
    underexposed  items to explore

    One thread calls its methods. The three attributes are replaced, never changed.
    """

    def __init__(
        self,
        counts: Sequence[GuaranteeCounts],
        bound: float,
        index: ItemIndex,
        snapshot: Snapshot | None,
        now_ms: int,
    ) -> None:
        self._counts = counts
        self._bound = bound
        self._index = index
        self._rates = SnapshotRates(snapshot)
        self._searched_ms: int | None = None
        self._items: list[ItemsOfUnits] = [(NO_IDS, NO_IDS) for _ in counts]
        self.rebuild(now_ms)

    def rebuild(self, now_ms: int) -> None:
        """Computes all boosts."""
        self.by_item = self._all_boosts(now_ms, is_for_items=True)
        self.by_creator = self._all_boosts(now_ms, is_for_items=False)
        self.underexposed = UnderexposedItems.from_counts(self._counts, self._items, now_ms, self._rates)
        self._rebuilt_for = self._rebuild_key(now_ms)

    def update(self, ids: NDArray[Any], creators: NDArray[Any], now_ms: int) -> None:
        """Computes the boosts of ``ids`` and ``creators``, which were shown; once per minute, all boosts."""
        if not self._counts:
            return
        if self._rebuilt_for != self._rebuild_key(now_ms):
            self.rebuild(now_ms)
            return
        self.by_item = self.by_item.with_values(ids, self._boosts(ids, now_ms, is_for_items=True))
        self.by_creator = self.by_creator.with_values(
            creators, self._boosts(creators, now_ms, is_for_items=False)
        )
        self.underexposed = self.underexposed.without_caught_up(self._counts, now_ms)

    def find_new_units(self, now_ms: int) -> NewUnits | None:
        """Returns the units of the index that the counts lack, once per ``NEW_UNITS_MS``; else None."""
        if not self._counts or (self._searched_ms is not None and now_ms < self._searched_ms + NEW_UNITS_MS):
            return None
        self._searched_ms = now_ms
        with_creators = any(not counts.guarantee.is_for_items for counts in self._counts)
        published = PublishedItems.from_index(self._index, with_creators=with_creators)
        units = {}
        for i, counts in enumerate(self._counts):
            hours = counts.guarantee.hours
            if counts.guarantee.is_for_items:
                keys, births = published.new_items(hours, now_ms)
                self._items[i] = keys, keys
                impressions = self._rates.impressions(keys)
            else:
                keys, births, ids, creators, moments = published.new_creators(hours, now_ms)
                self._items[i] = newest_per_creator(ids, creators, moments)
                positions = np.searchsorted(keys, creators)
                impressions = np.bincount(positions, self._rates.impressions(ids), len(keys))
            is_unknown = ~np.isin(keys, counts.keys)
            impressions = impressions[is_unknown].astype(np.int64)
            units[counts.guarantee.name] = keys[is_unknown], births[is_unknown], impressions
        return NewUnits(now_ms, units)

    def _all_boosts(self, now_ms: int, *, is_for_items: bool) -> SparseValues:
        keys = np.concatenate(
            [NO_IDS, *(c.keys for c in self._counts if c.guarantee.is_for_items == is_for_items)]
        )
        keys = np.unique(keys)
        boosts = self._boosts(keys, now_ms, is_for_items=is_for_items)
        return SparseValues(keys[boosts < 0], boosts[boosts < 0])

    def _boosts(self, keys: NDArray[Any], now_ms: int, *, is_for_items: bool) -> NDArray[Any]:
        boosts = [
            counts.boosts(keys, now_ms, self._bound)
            for counts in self._counts
            if counts.guarantee.is_for_items == is_for_items
        ]
        return np.min(boosts, axis=0) if boosts else np.zeros(len(keys))

    def _rebuild_key(self, now_ms: int) -> tuple[object, ...]:
        """Returns what changes all boosts at once: the minute, a search for new units, spent budgets."""
        changes = [(counts.searched_ms, counts.has_budget) for counts in self._counts]
        return now_ms // BOOST_MS, self._searched_ms, *changes
