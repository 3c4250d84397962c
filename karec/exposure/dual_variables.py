"""Dual variables of exposure constraints: their update from impressions, and the score penalties they give.

A constraint "group g has the share s of the impressions" has a dual variable λ, in standard deviations of a
request's scores; items of the group are ordered by score − λ. After a page of n items, n_g of them in the
group, with w = s·(1 − s):

    λ ← clip(λ + rate · (n_g − s·n) / (10·w), −bound, bound)               λ of a cap: clip to 0 … bound

A share answers its dual variable by about −w per unit, as a logistic function does, so the division by w
gives every group the same pace: λ converges in about 1/rate pages of ten items. While λ is inside its bounds,
dual ascent keeps |n_g − s·n|, summed over all pages, at most 20·bound·w/rate: the sum of all changes of λ is
at most 2·bound.

For a minimum "group g has at least the share s", z is updated by the rule of λ above, m is 0 at first, and

    λ = clip(z + m, −bound, 0),    m ← m + min(rate · n/20, 1) · (λ − m)

z > 0 is a surplus: the group needs no boost until it is used up. m learns the boost that the group always
needs. Without m that boost needs −10·w·z/rate missing impressions for as long as it lasts. At half the pace
of z, m does not overshoot.

Sources: online mirror descent for allocation (Balseiro, Lu and Mirrokni 2020, "Dual mirror descent for online
allocation problems"), with the Euclidean mirror map. Minimum: the method of multipliers (Hestenes 1969,
"Multiplier and gradient methods").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import PUBLISHED
from karec.exposure.arrays import SparseValues
from karec.exposure.boosts import UnderexposedItems
from karec.exposure.constraints import Target
from karec.times import HOUR_MS

STEP_IMPRESSIONS = 10.0  # impressions that move a dual variable by ``rate``
MIN_W = 0.005  # for shares near 0 and 1
MEAN_PACE = 0.5  # of m, as a fraction of the rate
SPARE = 2  # items drawn for each that may be on the page: a filter may remove one


@dataclass(frozen=True)
class DualUpdate:
    """Update rule of all dual variables: step size ``rate``, bounds ±``bound``."""

    rate: float
    bound: float

    def update_targets(
        self, values: NDArray[Any], shares: NDArray[Any], counts: NDArray[Any], n: int
    ) -> NDArray[Any]:
        """Returns the dual variables (G,) float64 after a page of ``n`` items.

        Args:
            values: (G,) dual variables before the page; 0 before the first page.
            shares: (G,) desired shares.
            counts: (G,) items of the page in each group.
        """
        w = np.maximum(shares * (1.0 - shares), MIN_W)
        step = self.rate * (counts - shares * n) / (STEP_IMPRESSIONS * w)
        return np.asarray(np.minimum(np.maximum(values + step, -self.bound), self.bound))

    def update_cap(self, value: float, share: float, count: int, n: float) -> float:
        """Returns the dual variable of a cap after ``n`` impressions, ``count`` of its group.

        O(1) for any ``n``.
        """
        step = self.rate * (count - share * n) / (STEP_IMPRESSIONS * max(share * (1.0 - share), MIN_W))
        return min(max(value + step, 0.0), self.bound)


@dataclass(frozen=True)
class TargetGroup:
    """The items of one target share: ``column`` equals ``value``, or younger than ``age_hours``."""

    name: str
    share: float
    tolerance: float
    column: str
    value: int = 0
    age_hours: float | None = None
    is_minimum: bool = False

    @classmethod
    def from_targets(cls, targets: Sequence[Target]) -> tuple[TargetGroup, ...]:
        """Returns a group for each share of ``targets``."""
        groups = []
        for target in targets:
            column, hours, tolerance = target.column, target.age_hours, target.tolerance
            for text, share in target.shares().items():
                name = f"younger than {hours:g} h" if column is None else f"{column} {text}"
                value = int(text or 0)
                groups.append(cls(name, share, tolerance, column or PUBLISHED, value, hours, target.minimum))
        return tuple(groups)

    def members(self, values: NDArray[Any], now_ms: int) -> NDArray[Any]:
        """Returns (N,) bool, from the column's ``values (N,)``."""
        if self.age_hours is None:
            return np.asarray(values == self.value)
        return np.asarray(values > now_ms - self.age_hours * HOUR_MS)


class TargetAscent:
    """Dual ascent of all target groups, page by page. One thread uses it; arrays are replaced, never changed.

    values  (G,) float64: λ of targets, z of minimums
    means   (G,) float64: m of minimums; 0 for the other targets
    """

    def __init__(self, groups: Sequence[TargetGroup], update: DualUpdate) -> None:
        self._update = update
        self._shares = np.array([group.share for group in groups])
        self._is_minimum = np.array([group.is_minimum for group in groups], bool)
        self._has_minimum = bool(self._is_minimum.any())
        self.restore(np.zeros(len(groups)), np.zeros(len(groups)))

    def restore(self, values: NDArray[Any], means: NDArray[Any]) -> None:
        """Continues from ``values`` and ``means`` (G,), clipped to the bound."""
        bound = self._update.bound
        self.values = np.clip(values, -bound, bound)
        self.means = np.where(self._is_minimum, np.clip(means, -bound, 0.0), 0.0)

    def add_page(self, counts: NDArray[Any], n: int) -> None:
        """Adds a page of ``n`` items, ``counts (G,)`` of them in each group."""
        self.values = self._update.update_targets(self.values, self._shares, counts, n)
        if self._has_minimum:
            pace = self._is_minimum * min(MEAN_PACE * self._update.rate * n / STEP_IMPRESSIONS, 1.0)
            self.means = self.means + pace * (self.dual_variables() - self.means)

    def dual_variables(self) -> NDArray[Any]:
        """Returns λ (G,) float64."""
        if not self._has_minimum:
            return np.array(self.values)
        minimums = np.minimum(np.maximum(self.values + self.means, -self._update.bound), 0.0)
        return np.asarray(np.where(self._is_minimum, minimums, self.values))


class MemberCounter:
    """Counts the items of pages in target groups. Any thread may call it."""

    def __init__(self, groups: Sequence[TargetGroup]) -> None:
        self._no_members = dict.fromkeys([group.name for group in groups], 0)
        self._ages = [group for group in groups if group.age_hours is not None]
        self._names: dict[str, dict[int, str]] = {}  # group of each value, by column
        for group in groups:
            if group.age_hours is None:
                self._names.setdefault(group.column, {})[group.value] = group.name

    def count(self, read_column: Callable[[str], NDArray[Any]], now_ms: int) -> dict[str, int]:
        """Returns {group: its items on a page}; ``read_column`` returns the values (n,) of a column."""
        counts = self._no_members.copy()
        for column, names in self._names.items():
            for value in read_column(column).tolist():
                if value in names:
                    counts[names[value]] += 1
        for group in self._ages:
            counts[group.name] = int(group.members(read_column(group.column), now_ms).sum())
        return counts


@dataclass(frozen=True, eq=False)
class DualVariables:
    """One version of a scene's dual variables, in standard deviations of a request's scores.

    A positive value lowers the scores of its items, a negative one raises them. Nothing changes it, so any
    number of threads may read it.

    groups        the groups of all targets
    group_values  (G,) float64, one per group
    by_column     (column, values by its value): caps, guarantees of creators, fairness
    by_item       values by item id: guarantees of items, fairness
    underexposed  items to explore
    max_explored  most of them on a page
    notes         for the trace
    """

    version: int
    groups: tuple[TargetGroup, ...]
    group_values: NDArray[Any]
    by_column: tuple[tuple[str, SparseValues], ...]
    by_item: tuple[SparseValues, ...]
    underexposed: UnderexposedItems
    max_explored: int
    notes: Mapping[str, object]

    def penalties(
        self, ids: NDArray[Any], read_column: Callable[[str], NDArray[Any]], now_ms: int
    ) -> NDArray[Any] | None:
        """Returns (N,) float64, the sum of all dual variables of each item; None if all are 0.

        ``read_column`` returns the values (N,) of a column of the item index.
        """
        targets = self._targets
        if not targets and not self.by_column and not self.by_item:
            return None
        total = np.zeros(len(ids))
        columns: dict[str, NDArray[Any]] = {}

        def column_values(column: str) -> NDArray[Any]:
            if column not in columns:
                columns[column] = read_column(column)
            return columns[column]

        for group, values in targets:
            if group.age_hours is None:
                values.add_to(total, column_values(group.column))
            else:
                total += values.values[0] * group.members(column_values(group.column), now_ms)
        for column, values in self.by_column:
            values.add_to(total, column_values(column))
        for values in self.by_item:
            values.add_to(total, ids)
        return total

    @cached_property
    def _targets(self) -> list[tuple[TargetGroup, SparseValues]]:
        """The first group of each target, and the dual variables of all its groups; without those of 0."""
        active = [
            (group, value)
            for group, value in zip(self.groups, self.group_values.tolist(), strict=True)
            if value
        ]
        targets = []
        for _, pairs in groupby(active, lambda pair: (pair[0].column, pair[0].age_hours)):
            groups, values = zip(*pairs, strict=True)
            keys = np.array([group.value for group in groups], np.int64)
            order = np.argsort(keys)
            targets.append((groups[0], SparseValues(keys[order], np.array(values)[order])))
        return targets

    def explored_ids(self, seed: int, shown: Iterable[int | str]) -> NDArray[np.int64]:
        """Returns (≤ SPARE · max_explored,) ids to explore, best draw first, none of ``shown``."""
        seen_ids = {item for item in shown if not isinstance(item, str)}
        return self.underexposed.sample(seed, seen_ids, SPARE * self.max_explored)


def subtract_penalties(scores: NDArray[Any], penalties: NDArray[Any]) -> NDArray[Any]:
    """Returns (N,) float32: score − penalty · standard deviation of the scores.

    A score whose penalty is 0 keeps its bits. If all scores are equal, the deviation counts as 1, so the
    penalties decide the order.
    """
    if not len(scores):
        return np.empty(0, np.float32)
    wide = scores.astype(np.float64)
    centred = wide - np.add.reduce(wide) / len(wide)  # as wide.std(), in half the time
    deviation = math.sqrt(np.add.reduce(centred * centred) / len(wide))
    return np.asarray(wide - penalties * (deviation or 1.0), np.float32)
