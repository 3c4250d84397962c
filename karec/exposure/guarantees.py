"""Who is new, how often each was shown since, and how far each lags behind its floor.

A work is due floor · age / (half of the time that it is new), at most the floor: the second half is for those
that were late. Its price is the dual of "shown as often as due", −λ with λ = clip(bound · lag / (floor/4), 0,
bound): dual ascent on each unit's own constraint, in closed form, as the ascent has added up exactly due −
shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR, PUBLISHED
from karec.exposure.constraints import Floor
from karec.index import ItemIndex
from karec.times import HOUR_MS

DUE_WITHIN = 0.5  # of the time that a unit is new
# of a budget: spent, it is open again below that, so that it does not open and close at every feed
BACK = 0.98
WORKS_OF_A_CREATOR = 4  # that exploration may draw for a creator's floor
FULL_LAG = 0.25  # of the floor: from there on the boost is the whole bound

_NONE = np.empty(0, np.int64)


@dataclass
class FloorCounts:
    """The units (works or creators) that are new: ``keys (U,)`` ascending, ``births (U,)`` ms, ``counts
    (U,)``.

    spent            places of the decayed window that went to units behind the floor
    has_budget       False from when the budget is spent until a fiftieth of it has come back
    reached, missed  units that are not new any more, by whether they had their floor
    """

    floor: Floor
    keys: NDArray[Any] = field(default_factory=lambda: _NONE)
    births: NDArray[Any] = field(default_factory=lambda: _NONE)
    counts: NDArray[Any] = field(default_factory=lambda: _NONE)
    spent: float = 0.0
    has_budget: bool = True
    reached: int = 0
    missed: int = 0

    def watch(self, keys: NDArray[Any], births: NDArray[Any], before: NDArray[Any], now_ms: int) -> None:
        """Watch ``keys`` (distinct) too, shown ``before`` times so far, and let go of those that are not new
        any more.

        A unit that is watched keeps its count. O(U log U).
        """
        known = np.isin(keys, self.keys)
        keys = np.concatenate([self.keys, keys[~known]])
        births = np.concatenate([self.births, births[~known]])
        counts = np.concatenate([self.counts, np.asarray(before[~known], np.int64)])
        new = births > now_ms - self.floor.hours * HOUR_MS
        done = counts[~new] >= self.floor.exposures
        self.reached += int(done.sum())
        self.missed += int((~done).sum())
        order = np.argsort(keys[new], kind="stable")
        self.keys, self.births, self.counts = keys[new][order], births[new][order], counts[new][order]

    def show(self, keys: NDArray[Any], now_ms: int, decay: float) -> None:
        """Count a feed's ``keys``; those that are not watched count nowhere. ``decay``: the window's since
        the feed before."""
        self.spent *= decay
        if len(self.keys) and len(keys):
            at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            at = at[self.keys[at] == keys]
            self.spent += float((self.counts[at] < self._due(self.births[at], now_ms)).sum())
            np.add.at(self.counts, at, 1)
        back = BACK * self.floor.budget if not self.has_budget else self.floor.budget
        self.has_budget = self.spent < back

    def lags(self, now_ms: int) -> NDArray[Any]:
        """(U,) how far each lags behind what is due, in parts of the floor; 0 for one that does not."""
        return np.asarray(
            np.maximum(self._due(self.births, now_ms) - self.counts, 0.0) / self.floor.exposures
        )

    def lags_of(self, keys: NDArray[Any], now_ms: int) -> NDArray[Any]:
        """(M,) the same of ``keys``: 0 too for one that is not watched, and for all when the budget is
        spent."""
        if not len(self.keys) or not self.has_budget:
            return np.zeros(len(keys))
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        lags = np.maximum(self._due(self.births[at], now_ms) - self.counts[at], 0.0) / self.floor.exposures
        return np.where(self.keys[at] == keys, lags, 0.0)

    def prices_of(self, keys: NDArray[Any], now_ms: int, bound: float) -> NDArray[Any]:
        """(M,) −λ of ``keys``, in −bound … 0."""
        return np.asarray(-bound * np.minimum(self.lags_of(keys, now_ms) / FULL_LAG, 1.0))

    def told(self, now_ms: int) -> dict[str, Any]:
        """Plain values for metrics."""
        return {
            "name": self.floor.name,
            "new": len(self.keys),
            "behind": int((self.lags(now_ms) > 0).sum()),
            "spent": self.spent,
            "budget": self.floor.budget,
            "reached": self.reached,
            "missed": self.missed,
        }

    def _due(self, births: NDArray[Any], now_ms: int) -> NDArray[Any]:
        age = np.maximum(now_ms - births, 0) / (self.floor.hours * HOUR_MS * DUE_WITHIN)
        return np.asarray(np.ceil(self.floor.exposures * np.minimum(age, 1.0)))


@dataclass(frozen=True)
class Library:
    """Works, creators and moments of publication of the newest index generation, by row without gaps."""

    ids: NDArray[Any]
    published: NDArray[Any]
    creators: NDArray[Any]

    @classmethod
    def of(cls, index: ItemIndex, with_creators: bool) -> Library:
        """O(works); ``creators`` is empty where no floor is of creators."""
        present = index.present
        creators = index.columns[CREATOR][present].astype(np.int64) if with_creators else _NONE
        return cls(index.ids[present], index.columns[PUBLISHED][present], creators)

    def new_works(self, hours: float, now_ms: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """(ids, moments of publication) of works younger than ``hours``."""
        new = (self.published > now_ms - hours * HOUR_MS) & (self.published <= now_ms)
        return self.ids[new], self.published[new]

    def new_creators(
        self, hours: float, now_ms: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """(creators, first publication of each; works of them, the creator and the moment of each work), none
        of them with a work older than ``hours`` or without a moment. O(N log new).
        """
        new = (self.published > now_ms - hours * HOUR_MS) & (self.published <= now_ms) & (self.creators >= 0)
        works, creators, moments = self.ids[new], self.creators[new], self.published[new]
        keys, first = np.unique(creators, return_inverse=True)
        births = np.full(len(keys), np.iinfo(np.int64).max)
        np.minimum.at(births, first, moments)
        older = self.creators[self.published <= now_ms - hours * HOUR_MS]
        at = np.minimum(np.searchsorted(keys, older), max(len(keys) - 1, 0))
        known_before = np.zeros(len(keys), bool)
        if len(keys):
            known_before[at[keys[at] == older]] = True
        keep = ~known_before[first]
        return keys[~known_before], births[~known_before], works[keep], creators[keep], moments[keep]


def newest_of_each(
    works: NDArray[Any], creators: NDArray[Any], moments: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(works, creators): the ``WORKS_OF_A_CREATOR`` works of each creator that were published last. O(N log
    N)."""
    order = np.lexsort((-moments, creators))
    works, creators = works[order], creators[order]
    first = np.append(True, creators[1:] != creators[:-1])[: len(creators)]
    begins = np.maximum.accumulate(np.where(first, np.arange(len(creators)), 0))
    newest = np.arange(len(creators)) - begins < WORKS_OF_A_CREATOR
    return works[newest], creators[newest]
