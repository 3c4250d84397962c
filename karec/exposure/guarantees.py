"""Exposure guarantees of new items and creators: which are new, and their impressions so far.

A unit is an item or a creator with a guarantee. It is due guarantee · age / (half of the time that it is
new), at most the guarantee: the second half is left for late units. Its boost is the dual variable of
"impressions = due", −λ with λ = clip(bound · lag / (guarantee/4), 0, bound), lag = due − impressions. This is
dual ascent on each unit's own constraint in closed form: the ascent sums up exactly due − impressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR, PUBLISHED
from karec.exposure.arrays import NO_IDS, Int64s, find_keys
from karec.exposure.constraints import GuaranteedExposure
from karec.index import ItemIndex
from karec.times import HOUR_MS
from karec.toml import NonNegative

DUE_FRACTION = 0.5  # of the time that a unit is new
REOPEN_FRACTION = 0.98  # of the budget; hysteresis, so that boosts do not switch at every page
FULL_BOOST_LAG = 0.25  # of the guarantee; from this lag on the boost is the bound
ITEMS_PER_CREATOR = 4  # most items of one creator that exploration draws from


class NewUnits(msgspec.Struct, frozen=True, eq=False, tag="units"):
    """Units that a search of the index at ``time_ms`` found, for each guarantee, by its name.

    units  {guarantee: (keys, publication in ms, impressions so far)}, (U,) int64 each
    """

    time_ms: int
    units: Mapping[str, tuple[Int64s, Int64s, Int64s]]


@dataclass
class GuaranteeCounts:
    """Impressions of all units of one guarantee. One thread uses it.

    keys         (U,) int64, ascending: ids of items or creators
    births       (U,) int64 ms: publication
    counts       (U,) int64 impressions
    spent        impressions in the decayed window that went to units below the guarantee
    has_budget   False from the moment that the budget is spent until 2 % of it is free again
    reached      units that are no longer new and had the guarantee
    missed       units that are no longer new and had less
    searched_ms  time of the last search for new units; 0: none
    """

    guarantee: GuaranteedExposure
    keys: Int64s = field(default_factory=lambda: NO_IDS)
    births: Int64s = field(default_factory=lambda: NO_IDS)
    counts: Int64s = field(default_factory=lambda: NO_IDS)
    spent: NonNegative = 0.0
    has_budget: bool = True
    reached: int = 0
    missed: int = 0
    searched_ms: int = 0

    def __post_init__(self) -> None:
        if not len(self.keys) == len(self.births) == len(self.counts):
            raise ValueError(
                f"guarantee {self.guarantee.name}: {len(self.keys)} keys, {len(self.births)} births, "
                f"{len(self.counts)} counts"
            )
        if np.any(self.keys[1:] <= self.keys[:-1]):
            raise ValueError(f"guarantee {self.guarantee.name}: the keys are not ascending")

    def copy(self) -> GuaranteeCounts:
        return replace(self, counts=self.counts.copy())  # the other arrays never change

    def set_new_units(
        self, keys: NDArray[Any], births: NDArray[Any], counts: NDArray[Any], now_ms: int
    ) -> None:
        """Adds units and removes those that are no longer new; a unit that is present keeps its count.

        ``keys`` are distinct. O(U log U).
        """
        is_known = np.isin(keys, self.keys)
        keys = np.concatenate([self.keys, keys[~is_known]])
        births = np.concatenate([self.births, births[~is_known]])
        counts = np.concatenate([self.counts, np.asarray(counts[~is_known], np.int64)])
        is_new = births > now_ms - self.guarantee.hours * HOUR_MS
        has_reached = counts[~is_new] >= self.guarantee.exposures
        self.reached += int(has_reached.sum())
        self.missed += int((~has_reached).sum())
        order = np.argsort(keys[is_new], kind="stable")
        self.keys = keys[is_new][order]
        self.births = births[is_new][order]
        self.counts = counts[is_new][order]
        self.searched_ms = now_ms

    def add_page(self, keys: NDArray[Any], now_ms: int, decay: float) -> None:
        """Counts the ``keys`` of a page; other keys than units are ignored.

        ``decay``: the window's factor since the page before.
        """
        self.spent *= decay
        at, is_unit = find_keys(self.keys, keys)
        at = at[is_unit]
        self.spent += float((self.counts[at] < self._due(self.births[at], now_ms)).sum())
        np.add.at(self.counts, at, 1)
        budget = self.guarantee.budget
        self.has_budget = self.spent < (budget if self.has_budget else REOPEN_FRACTION * budget)

    def lags(self, keys: NDArray[Any], now_ms: int) -> NDArray[Any]:
        """Returns (M,) due − impressions of ``keys (M,)`` as a fraction of the guarantee, at least 0.

        0 for other keys than units, and for all of them while the budget is spent.
        """
        if not len(self.keys) or not self.has_budget:
            return np.zeros(len(keys))
        at, is_unit = find_keys(self.keys, keys)
        return np.where(is_unit, self._lags(self.births[at], self.counts[at], now_ms), 0.0)

    def boosts(self, keys: NDArray[Any], now_ms: int, bound: float) -> NDArray[Any]:
        """Returns (M,) −λ of ``keys (M,)``, in −bound … 0."""
        return np.asarray(-bound * np.minimum(self.lags(keys, now_ms) / FULL_BOOST_LAG, 1.0))

    def summary(self, now_ms: int) -> dict[str, Any]:
        """Returns plain values for reports."""
        return {
            "name": self.guarantee.name,
            "new": len(self.keys),
            "underexposed": int((self._lags(self.births, self.counts, now_ms) > 0).sum()),
            "spent": self.spent,
            "budget": self.guarantee.budget,
            "reached": self.reached,
            "missed": self.missed,
        }

    def _lags(self, births: NDArray[Any], counts: NDArray[Any], now_ms: int) -> NDArray[Any]:
        return np.asarray(np.maximum(self._due(births, now_ms) - counts, 0.0) / self.guarantee.exposures)

    def _due(self, births: NDArray[Any], now_ms: int) -> NDArray[Any]:
        age = np.maximum(now_ms - births, 0) / (self.guarantee.hours * HOUR_MS * DUE_FRACTION)
        return np.asarray(np.ceil(self.guarantee.exposures * np.minimum(age, 1.0)))


@dataclass(frozen=True)
class PublishedItems:
    """The items of one index generation: ids (N,), publication in ms (N,), creators (N,) or empty."""

    ids: NDArray[Any]
    published: NDArray[Any]
    creators: NDArray[Any]

    @classmethod
    def from_index(cls, index: ItemIndex, *, with_creators: bool) -> Self:
        present = index.present
        creators = index.columns[CREATOR][present].astype(np.int64) if with_creators else NO_IDS
        return cls(index.ids[present], index.columns[PUBLISHED][present], creators)

    def new_items(self, hours: float, now_ms: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (ids, publication) of the items younger than ``hours``."""
        is_new = (self.published > now_ms - hours * HOUR_MS) & (self.published <= now_ms)
        return self.ids[is_new], self.published[is_new]

    def new_creators(
        self, hours: float, now_ms: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Returns the creators without an item that is older than ``hours``. O(N log new).

        Returns:
            (creators (C,), first publication of each (C,), their items (M,), the creator of each item (M,),
            publication of each item (M,)).
        """
        is_new = (
            (self.published > now_ms - hours * HOUR_MS) & (self.published <= now_ms) & (self.creators >= 0)
        )
        items, creators, published = self.ids[is_new], self.creators[is_new], self.published[is_new]
        keys, key_of_item = np.unique(creators, return_inverse=True)
        births = np.full(len(keys), np.iinfo(np.int64).max)
        np.minimum.at(births, key_of_item, published)
        at, is_key = find_keys(keys, self.creators[self.published <= now_ms - hours * HOUR_MS])
        has_older_item = np.zeros(len(keys), bool)
        has_older_item[at[is_key]] = True
        keep = ~has_older_item[key_of_item]
        return keys[~has_older_item], births[~has_older_item], items[keep], creators[keep], published[keep]


def newest_per_creator(
    items: NDArray[Any], creators: NDArray[Any], published: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (items, creators): the ``ITEMS_PER_CREATOR`` newest items of each creator. O(N log N)."""
    order = np.lexsort((-published, creators))
    items, creators = items[order], creators[order]
    is_first = np.append(True, creators[1:] != creators[:-1])[: len(creators)]
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(creators)), 0))
    is_newest = np.arange(len(creators)) - first < ITEMS_PER_CREATOR
    return items[is_newest], creators[is_newest]
