"""What feeds showed, folded into the state of prices: one feed at a time, in their order.

The same feeds in the same order give the same state, bit for bit, however they are grouped. Shares and
budgets are read off a window that forgets: a feed that is t hours old counts e^(−t/window), so that a window
of 24 hours holds as many places as a day has. O(k · caps + G + window's priced values, now and then) a feed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.exposure.constraints import Cap, Floor, Spread
from karec.exposure.control import Law
from karec.exposure.dual_variables import Group
from karec.exposure.guarantees import FloorCounts
from karec.exposure.spread import SpreadCounts
from karec.times import HOUR_MS

FORMAT = 1
LAST_MS = 253_402_300_799_999  # the end of the year 9999
NAMED = 5  # values of a cap that a line of ``unmet`` names


@dataclass(frozen=True, eq=False)
class Feed:
    """One feed of n works as it was shown: how many are in each group (G,), values of each cap's column (n,)
    each, works ``ids (n,)`` and their ``creators (n,)``, empty where no floor needs them, and values of each
    spread's column, or works, (n,) each.
    """

    time_ms: int
    n: int
    groups: NDArray[Any]
    caps: tuple[NDArray[Any], ...]
    ids: NDArray[Any]
    creators: NDArray[Any]
    spread: tuple[NDArray[Any], ...] = ()


class ExposureCounters:
    """The state of prices. One thread writes it; what requests read is made from it
    (``karec.exposure.controller``)."""

    def __init__(
        self,
        groups: Sequence[Group],
        caps: Sequence[Cap],
        floors: Sequence[Floor],
        spread: Sequence[Spread],
        law: Law,
        window_hours: float,
    ) -> None:
        self.groups, self.caps, self.law, self.window_hours = tuple(groups), tuple(caps), law, window_hours
        self.shares = np.array([group.share for group in groups])
        self.prices = np.zeros(len(self.groups))
        self.shown = np.zeros(len(self.groups))  # decayed, as ``places``
        self.places = 0.0
        self.total = 0  # places ever
        self.feeds = 0
        self.time_ms = 0
        # value → (price, total at that moment)
        self.priced: list[dict[int, tuple[float, int]]] = [{} for _ in caps]
        self.floors = [FloorCounts(floor) for floor in floors]
        self.spread = [SpreadCounts(each, window_hours) for each in spread]

    @property
    def names_creators(self) -> bool:
        """Whether some floor is of creators, so that feeds say whose works they showed."""
        return any(not counts.floor.of_works for counts in self.floors)

    def show(self, feed: Feed) -> None:
        """Count ``feed``, and move the prices. A feed that is older than the newest decays nothing."""
        decay = (
            math.exp(-max(feed.time_ms - self.time_ms, 0) / (self.window_hours * HOUR_MS))
            if self.time_ms
            else 1.0
        )
        self.time_ms = max(self.time_ms, feed.time_ms)
        for counts in self.floors:
            counts.show(feed.ids if counts.floor.of_works else feed.creators, feed.time_ms, decay)
        if not feed.n:
            return
        for spread, values in zip(self.spread, feed.spread, strict=True):
            spread.show(values, self.time_ms)
        self.feeds += 1
        self.shown, self.places = self.shown * decay + feed.groups, self.places * decay + feed.n
        self.prices = self.law.moved(self.prices, self.shares, feed.groups, feed.n)
        before, self.total = self.total, self.total + feed.n
        for cap, priced, values in zip(self.caps, self.priced, feed.caps, strict=True):
            each, times = np.unique(values[values >= 0], return_counts=True)
            for value, n in zip(each.tolist(), times.tolist(), strict=True):
                price, at = priced.get(value, (0.0, before))
                rested = self.law.capped(price, cap.share, 0, before - at)
                priced[value] = self.law.capped(rested, cap.share, n, feed.n), self.total

    def cap_prices(self, cap: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """(values, prices > 0) of a cap by now; values whose price has come down to 0 are forgotten."""
        share, now = self.caps[cap].share, {}
        for value, (price, at) in self.priced[cap].items():
            rested = self.law.capped(price, share, 0, self.total - at)
            if rested > 0:
                now[value] = rested
        self.priced[cap] = {value: self.priced[cap][value] for value in now}
        return np.fromiter(now, np.int64, len(now)), np.fromiter(now.values(), np.float64, len(now))

    def measured(self) -> NDArray[Any]:
        """(G,) the share of the window's places that each group has; 0 before the first feed."""
        return np.asarray(self.shown / self.places) if self.places else np.zeros(len(self.groups))

    def unmet(self) -> list[str]:
        """A line for each target that is farther off than its tolerance while its price stands at the bound,
        and for each cap of which values stand there.
        """
        lines = []
        prices, measured = self.prices.tolist(), self.measured().tolist()
        for group, price, share in zip(self.groups, prices, measured, strict=True):
            if abs(price) >= self.law.bound and abs(share - group.share) > group.tolerance:
                lines.append(
                    f"{group.name}: {share:.3f} of the places, wanted {group.share:g}, price {price:+g}"
                )
        for at, cap in enumerate(self.caps):
            values, of_values = self.cap_prices(at)
            bound = values[of_values >= self.law.bound]
            if len(bound):
                named = ", ".join(map(str, sorted(bound.tolist())[:NAMED]))
                lines.append(
                    f"{cap.column} {named}: above the cap of {cap.share:g}, price {self.law.bound:+g}"
                )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``restore`` reads them."""
        return {
            "format": FORMAT,
            "feeds": self.feeds,
            "time_ms": self.time_ms,
            "total": self.total,
            "places": self.places,
            "groups": {
                # format 1 has the price twice and the wanted share: a controller that was removed read them
                group.name: [price, price, group.share, shown]
                for group, price, shown in zip(
                    self.groups, self.prices.tolist(), self.shown.tolist(), strict=True
                )
            },
            "caps": {
                cap.column: {str(value): [*at] for value, at in priced.items()}
                for cap, priced in zip(self.caps, self.priced, strict=True)
            },
            "floors": {
                counts.floor.name: {
                    "keys": counts.keys.tolist(),
                    "births": counts.births.tolist(),
                    "counts": counts.counts.tolist(),
                    "spent": counts.spent,
                    "has_budget": counts.has_budget,
                    "reached": counts.reached,
                    "missed": counts.missed,
                }
                for counts in self.floors
            },
            "spread": {counts.spread.name: counts.as_dict() for counts in self.spread},
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """What ``as_dict`` gave, of this ledger or of one with other constraints: those of the same name go
        on from it, with prices clipped to the bound of now. ValueError, and nothing changed, where it is
        something else.
        """
        try:
            if saved["format"] != FORMAT:
                raise ValueError(f"format {saved['format']}, this version reads {FORMAT}")
            numbers = [int(saved[name]) for name in ("feeds", "time_ms", "total")]
            if not 0 <= numbers[1] <= LAST_MS:
                raise ValueError(f"time_ms is {numbers[1]}")
            places = _finite(saved["places"])
            prices, shown = self.prices.copy(), self.shown.copy()
            for i, group in enumerate(self.groups):
                if group.name in saved["groups"]:
                    _, price, _, shown[i] = map(_finite, saved["groups"][group.name])
                    prices[i] = np.clip(price, -self.law.bound, self.law.bound)
            priced = [
                {
                    int(value): (min(max(_finite(price), 0.0), self.law.bound), int(at))
                    for value, (price, at) in saved["caps"].get(cap.column, {}).items()
                }
                for cap in self.caps
            ]
            floors = [_floor(counts.floor, saved["floors"].get(counts.floor.name)) for counts in self.floors]
            were = saved.get("spread", {})  # ledgers of before have none
            spread = [
                SpreadCounts.restored(
                    counts.spread, self.window_hours, were.get(counts.spread.name), numbers[1]
                )
                for counts in self.spread
            ]
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
            raise ValueError(f"it is no ledger of a scene's exposure: {error!r}") from error
        self.feeds, self.time_ms, self.total = numbers
        self.places, self.prices, self.shown, self.priced = places, prices, shown, priced
        self.floors, self.spread = floors, spread


def _floor(floor: Floor, saved: Mapping[str, Any] | None) -> FloorCounts:
    if saved is None:
        return FloorCounts(floor)
    keys, births, counts = (np.array(saved[name], np.int64) for name in ("keys", "births", "counts"))
    if not keys.ndim == births.ndim == counts.ndim == 1 or not len(keys) == len(births) == len(counts):
        raise ValueError(
            f"the floor {floor.name} has {len(keys)} keys, {len(births)} births and {len(counts)} counts"
        )
    if np.any(keys[1:] <= keys[:-1]):
        raise ValueError(f"the keys of the floor {floor.name} do not ascend")
    spent, reached, missed = _finite(saved["spent"]), int(saved["reached"]), int(saved["missed"])
    return FloorCounts(floor, keys, births, counts, spent, bool(saved["has_budget"]), reached, missed)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no finite number")
    return number
