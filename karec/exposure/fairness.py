"""Recent exposure of creators and items, and the score penalties that follow from it.

The scene maximises Σ score + weight · Σ_v h · log(1 + n_v/h), with n_v the impressions of a value v in the
window: proportional fairness (Kelly, Maulloo, Tan, "Rate control for communication networks", Journal of the
Operational Research Society 49, 1998), with a scale of h impressions. Each page takes the steepest step: the
next impression of v is worth weight · h/(h + n_v), so v gets the penalty weight · n_v/(n_v + h). Items of
nearly equal score take turns; an item that is better by more than the weight is shown nevertheless.

An impression that is t hours old counts e^(−t/window). Once per minute of the pages' clock, counts are merged
into sorted arrays and all penalties are computed; between two minutes, only those of values shown since then.
Cost: O(k) per page, O(recent · log V) per update, O(V log V) per minute.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from karec.exposure.arrays import NO_IDS, Float64s, Int64s, SparseValues, find_keys
from karec.exposure.constraints import FairnessPenalty
from karec.times import HOUR_MS
from karec.toml import NonNegativeInt

MERGE_MS = HOUR_MS // 60
MAX_RECENT = 4_096  # values between two merges; the last page may add some more
MAX_COUNT = 1e15  # of impressions in a saved state
MAX_VALUES = 65_536  # values that are kept: those with most impressions; the others have no penalty
MIN_COUNT = 0.01  # impressions of the window below which a value is removed


@dataclass
class FairnessCounts:
    """Decayed impressions of the values of one fairness penalty. One thread uses it.

    keys, counts  (V,) values, ascending, and their impressions, decayed to ``merged_ms``
    recent        {value: impressions since ``merged_ms``, in units of then}
    """

    penalty: FairnessPenalty
    window_hours: float
    keys: Int64s = field(default_factory=lambda: NO_IDS)
    counts: Float64s = field(default_factory=lambda: np.empty(0))
    recent: dict[NonNegativeInt, Annotated[float, Meta(ge=0, le=MAX_COUNT)]] = field(default_factory=dict)
    merged_ms: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.counts) or np.any(self.keys[1:] <= self.keys[:-1]):
            raise ValueError(f"fairness of {self.penalty.name}: keys are not ascending, or have no count")
        is_in_range = np.all((self.counts >= 0) & (self.counts <= MAX_COUNT)) and np.all(self.keys >= 0)
        if not is_in_range:
            raise ValueError(f"fairness of {self.penalty.name}: a key or a count is out of range")
        self._merged_penalties = self._all_penalties()

    def copy(self) -> FairnessCounts:
        result = copy(self)  # the arrays never change
        result.recent = dict(self.recent)
        return result

    def add_page(self, values: NDArray[Any], now_ms: int) -> None:
        """Counts the ``values`` of a page; negative ones are ignored. ``now_ms`` never decreases."""
        window_ms = self.window_hours * HOUR_MS
        if now_ms - self.merged_ms >= min(MERGE_MS, window_ms) or len(self.recent) >= MAX_RECENT:
            self._merge(now_ms)
        one = math.exp((now_ms - self.merged_ms) / window_ms)
        for value in values.tolist():
            if value >= 0:
                self.recent[value] = self.recent.get(value, 0.0) + one

    def penalties(self, now_ms: int) -> tuple[SparseValues, ...]:
        """Returns penalties by value, in standard deviations of a request's scores, in parts to be added."""
        parts = [self._merged_penalties]
        if self.recent:
            keys, recent = self._recent_arrays()
            before = self._merged_counts(keys)
            change = self._penalties(before + recent, now_ms) - self._penalties(before, self.merged_ms)
            parts.append(SparseValues.from_parts([(keys, change)]))
        return tuple(part for part in parts if len(part))

    def summary(self, now_ms: int) -> dict[str, Any]:
        """Returns plain values for reports."""
        keys, recent = self._recent_arrays()
        before = self._merged_counts(keys)
        largest = max(self.counts.max(initial=0.0), (before + recent).max(initial=0.0))
        return {
            "name": self.penalty.name,
            "weight": self.penalty.weight,
            "values": len(self.keys) + int((before == 0).sum()),
            "max_exposures": float(largest * self._decay(now_ms)),
        }

    def _merge(self, now_ms: int) -> None:
        """Moves ``recent`` into the arrays and decays all counts to ``now_ms``."""
        recent_keys, recent = self._recent_arrays()
        decay = self._decay(now_ms)
        keys, at = np.unique(np.append(self.keys, recent_keys), return_inverse=True)
        counts = np.asarray(np.bincount(at, np.append(self.counts, recent), len(keys)) * decay, np.float64)
        keep = counts >= MIN_COUNT
        keys, counts = keys[keep], counts[keep]
        if len(keys) > MAX_VALUES:
            largest = np.sort(np.argsort(-counts, kind="stable")[:MAX_VALUES])
            keys, counts = keys[largest], counts[largest]
        self.keys = keys
        self.counts = counts
        self.recent = {}
        self.merged_ms = now_ms
        self._merged_penalties = self._all_penalties()

    def _all_penalties(self) -> SparseValues:
        return SparseValues.from_parts([(self.keys, self._penalties(self.counts, self.merged_ms))])

    def _recent_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        n = len(self.recent)
        return np.fromiter(self.recent, np.int64, n), np.fromiter(self.recent.values(), np.float64, n)

    def _merged_counts(self, keys: NDArray[Any]) -> NDArray[Any]:
        """Returns (M,) the merged counts of ``keys``."""
        counts = np.zeros(len(keys))
        at, is_known = find_keys(self.keys, keys)
        counts[is_known] = self.counts[at[is_known]]
        return counts

    def _penalties(self, counts: NDArray[Any], now_ms: int) -> NDArray[Any]:
        n = counts * self._decay(now_ms)
        return np.asarray(self.penalty.weight * (n / (n + self.penalty.exposures)))

    def _decay(self, now_ms: int) -> float:
        return math.exp(-(now_ms - self.merged_ms) / (self.window_hours * HOUR_MS))
