"""What creators and works were shown lately, and what that costs them.

The scene wants Σ score + weight · Σ_v h · log(1 + n_v/h) to be large, with n_v the exposures of a value v in
the window: proportional fairness (Kelly, Maulloo, Tan, "Rate control for communication networks", Journal of
the Operational Research Society 49, 1998), with h exposures as its scale. Each feed takes its steepest step:
the next exposure of v is worth weight · h/(h + n_v), so v costs weight · n_v/(n_v + h) more than a value that
was not shown. Works that are nearly as good as each other take turns; one that is better by more than weight
is shown all the same.

An exposure that is t hours old counts e^(−t/window). Once a minute of the feeds' clock, counts are folded
into sorted arrays and priced anew; in between, what was shown since is priced again, and nothing else. O(k) a
feed, O(lately · log V) a publication, O(V log V) a minute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.exposure.by_id import Keyed
from karec.exposure.constraints import Spread
from karec.times import HOUR_MS

FOLD_MS = HOUR_MS // 60
MOST_LATELY = 4_096  # values between two folds; the last feed may bring some more
MOST_EXPOSURES = 1e15  # that a saved count may say
MOST_VALUES = 65_536  # that are remembered, those shown most; the others cost nothing
FORGOTTEN = 0.01  # exposures of the window below which a value is let go of

_NOTHING = Keyed.sum_of([(np.empty(0, np.int64), np.empty(0))])


@dataclass
class SpreadCounts:
    """The exposures of ``spread``'s values.

    keys, counts  (V,) ascending, and their exposures at ``folded_ms``
    lately        {value: exposures since, in those of ``folded_ms``}
    """

    spread: Spread
    window_hours: float
    keys: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.int64))
    counts: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    lately: dict[int, float] = field(default_factory=dict)
    folded_ms: int = 0
    _folded: Keyed = _NOTHING

    def show(self, values: NDArray[Any], now_ms: int) -> None:
        """Count a feed's ``values``; negative ones name nothing. ``now_ms`` never falls."""
        window_ms = self.window_hours * HOUR_MS
        if now_ms - self.folded_ms >= min(FOLD_MS, window_ms) or len(self.lately) >= MOST_LATELY:
            self._fold(now_ms)
        one = math.exp((now_ms - self.folded_ms) / window_ms)
        for value in values.tolist():
            if value >= 0:
                self.lately[value] = self.lately.get(value, 0.0) + one

    def costs(self, now_ms: int) -> tuple[Keyed, ...]:
        """By value, in standard deviations of a request's scores; those of one value in several parts are
        added."""
        parts = [self._folded]
        if self.lately:
            keys, shown = self._of_lately()
            before = self._before(keys)
            change = self._cost(before + shown, now_ms) - self._cost(before, self.folded_ms)
            parts.append(Keyed.sum_of([(keys, change)]))
        return tuple(part for part in parts if len(part))

    def told(self, now_ms: int) -> dict[str, Any]:
        """Plain values for metrics."""
        keys, shown = self._of_lately()
        before = self._before(keys)
        most = max(self.counts.max(initial=0.0), (before + shown).max(initial=0.0)) * self._decay(now_ms)
        values = len(self.keys) + int((before == 0).sum())
        return {"of": self.spread.name, "weight": self.spread.weight, "values": values, "most": float(most)}

    def as_dict(self) -> dict[str, Any]:
        lately = [[value, count] for value, count in self.lately.items()]
        return {
            "at_ms": self.folded_ms,
            "keys": self.keys.tolist(),
            "counts": self.counts.tolist(),
            "lately": lately,
        }

    @classmethod
    def restored(
        cls, spread: Spread, window_hours: float, saved: Mapping[str, Any] | None, now_ms: int
    ) -> SpreadCounts:
        """What ``as_dict`` gave; None: nothing was shown yet. ``now_ms``: the newest feed's moment.
        ValueError, TypeError, KeyError: it is something else.
        """
        if saved is None:
            return cls(spread, window_hours)
        keys, counts = _values(saved["keys"]), np.array(saved["counts"], np.float64)
        pairs = saved["lately"]
        if not isinstance(pairs, list):
            raise ValueError(f"what the spread of {spread.name} saw lately is no list")
        lately = dict(
            zip(_values([value for value, _ in pairs]).tolist(), [float(of) for _, of in pairs], strict=True)
        )
        if keys.shape != counts.shape or np.any(keys[1:] <= keys[:-1]) or len(lately) < len(pairs):
            raise ValueError(
                f"the values of the spread of {spread.name} do not ascend, or have no count each"
            )
        every = np.append(counts, np.fromiter(lately.values(), np.float64, len(lately)))
        if not np.all((every >= 0) & (every <= MOST_EXPOSURES)):  # which no NaN is
            raise ValueError(f"a count of the spread of {spread.name} is no number of exposures")
        at_ms = int(saved["at_ms"])
        if not 0 <= at_ms <= now_ms:
            raise ValueError(
                f"the counts of the spread of {spread.name} are of {at_ms} ms, after the newest feed"
            )
        found = cls(spread, window_hours, keys, counts, lately, at_ms)
        found._folded = found._priced()
        return found

    def _fold(self, now_ms: int) -> None:
        """``lately`` into the arrays, and all of them as of ``now_ms``."""
        keys, shown = self._of_lately()
        decay = self._decay(now_ms)
        keys, at = np.unique(np.append(self.keys, keys), return_inverse=True)
        counts = np.bincount(at, np.append(self.counts, shown), len(keys)) * decay
        kept = counts >= FORGOTTEN
        keys, counts = keys[kept], counts[kept]
        if len(keys) > MOST_VALUES:
            most = np.sort(np.argsort(-counts, kind="stable")[:MOST_VALUES])
            keys, counts = keys[most], counts[most]
        self.keys, self.counts, self.lately, self.folded_ms = keys, counts, {}, now_ms
        self._folded = self._priced()

    def _priced(self) -> Keyed:
        return Keyed.sum_of([(self.keys, self._cost(self.counts, self.folded_ms))])

    def _of_lately(self) -> tuple[NDArray[Any], NDArray[Any]]:
        n = len(self.lately)
        return np.fromiter(self.lately, np.int64, n), np.fromiter(self.lately.values(), np.float64, n)

    def _before(self, keys: NDArray[Any]) -> NDArray[Any]:
        """(M,) the folded counts of ``keys``."""
        if not len(self.keys):
            return np.zeros(len(keys))
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.counts[at], 0.0)

    def _cost(self, counts: NDArray[Any], now_ms: int) -> NDArray[Any]:
        shown = counts * self._decay(now_ms)
        return np.asarray(self.spread.weight * (shown / (shown + self.spread.exposures)))

    def _decay(self, now_ms: int) -> float:
        return math.exp(-(now_ms - self.folded_ms) / (self.window_hours * HOUR_MS))


def _values(saved: Any) -> NDArray[Any]:
    """(V,) int64 of a list of whole numbers ≥ 0; TypeError, ValueError, OverflowError: it is something
    else."""
    if not isinstance(saved, list) or not all(type(value) is int and value >= 0 for value in saved):
        raise ValueError("the values of a spread are no whole numbers from 0 on")
    return np.array(saved, np.int64)
