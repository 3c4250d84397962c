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
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from karec.exposure.by_id import SparseValues, find_keys
from karec.exposure.constraints import FairnessPenalty
from karec.times import HOUR_MS

MERGE_MS = HOUR_MS // 60
MAX_RECENT = 4_096  # values between two merges; the last page may add some more
MAX_COUNT = 1e15  # of impressions in a saved state
MAX_VALUES = 65_536  # values that are kept: those with most impressions; the others have no penalty
MIN_COUNT = 0.01  # impressions of the window below which a value is removed

_NO_VALUES = SparseValues.from_parts([(np.empty(0, np.int64), np.empty(0))])


Values = list[Annotated[int, msgspec.Meta(ge=0)]]
Counts = list[Annotated[float, msgspec.Meta(ge=0, le=MAX_COUNT)]]


class FairnessState(msgspec.Struct, frozen=True):
    """Saved counts of one fairness penalty: those of ``FairnessCounts``, with ``recent`` as two lists."""

    merged_ms: Annotated[int, msgspec.Meta(ge=0)]
    keys: Values
    counts: Counts
    recent_keys: Values
    recent_counts: Counts


@dataclass
class FairnessCounts:
    """Decayed impressions of the values of one fairness penalty. One thread uses it.

    keys, counts  (V,) values, ascending, and their impressions, decayed to ``merged_ms``
    recent        {value: impressions since ``merged_ms``, in units of then}
    """

    penalty: FairnessPenalty
    window_hours: float
    keys: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.int64))
    counts: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    recent: dict[int, float] = field(default_factory=dict)
    merged_ms: int = 0
    _merged_penalties: SparseValues = _NO_VALUES

    def copy(self) -> FairnessCounts:
        return replace(self, recent=dict(self.recent))  # the arrays never change

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

    def state(self) -> FairnessState:
        """Returns plain values; ``from_state`` reads them."""
        return FairnessState(
            self.merged_ms,
            self.keys.tolist(),
            self.counts.tolist(),
            list(self.recent),
            list(self.recent.values()),
        )

    @classmethod
    def from_state(
        cls, penalty: FairnessPenalty, window_hours: float, saved: FairnessState | None, now_ms: int
    ) -> Self:
        """Returns the counts that ``state`` gave; None: no impressions yet.

        Args:
            now_ms: time of the newest page.

        Raises:
            ValueError, OverflowError: ``saved`` contradicts itself, or has numbers that do not fit.
        """
        if saved is None:
            return cls(penalty, window_hours)
        keys, counts = np.array(saved.keys, np.int64), np.array(saved.counts, np.float64)
        recent_keys = np.array(saved.recent_keys, np.int64).tolist()
        recent = dict(zip(recent_keys, saved.recent_counts, strict=True))
        if len(keys) != len(counts) or np.any(keys[1:] <= keys[:-1]) or len(recent) < len(recent_keys):
            raise ValueError(f"fairness of {penalty.name}: keys are not ascending, or have no count")
        if saved.merged_ms > now_ms:
            raise ValueError(
                f"fairness of {penalty.name}: merged_ms is {saved.merged_ms}, later than the newest page"
            )
        restored = cls(penalty, window_hours, keys, counts, recent, saved.merged_ms)
        restored._merged_penalties = restored._all_penalties()
        return restored

    def _merge(self, now_ms: int) -> None:
        """Moves ``recent`` into the arrays and decays all counts to ``now_ms``."""
        recent_keys, recent = self._recent_arrays()
        decay = self._decay(now_ms)
        keys, at = np.unique(np.append(self.keys, recent_keys), return_inverse=True)
        counts = np.bincount(at, np.append(self.counts, recent), len(keys)) * decay
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
