"""What works and creators behind a floor are lifted by, and which of their works exploration draws from.

All of it is made anew once a minute of the feeds' clock; in between, what a feed showed is looked at again,
and nothing else: O(new units) a minute, O(shown + MOST_BEHIND · log units) a publication.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.exposure.by_id import Keyed, merged
from karec.exposure.guarantees import FloorCounts
from karec.exposure.rates import Rates

MOST_BEHIND = 4_096  # works that exploration draws from, those farthest behind

Units = tuple[
    NDArray[Any], NDArray[Any]
]  # works, and of each the unit whose floor it serves: itself, or its creator


@dataclass(frozen=True, eq=False)
class Behind:
    """Works that serve a unit that lags behind a floor, most first: ``ids (B,)``, their units (B,) and the
    floor (B,) by number, and their Beta rates ``alpha (B,)``, ``beta (B,)``.
    """

    ids: NDArray[Any]
    units: NDArray[Any]
    floors: NDArray[Any]
    alpha: NDArray[Any]
    beta: NDArray[Any]

    @classmethod
    def of(cls, floors: Sequence[FloorCounts], units: Sequence[Units], now_ms: int, rates: Rates) -> Self:
        ids, of, number = (np.empty(0, np.int64) for _ in range(3))
        lags = np.empty(0)
        for i, (counts, (works, keys)) in enumerate(zip(floors, units, strict=True)):
            late = counts.lags_of(keys, now_ms)
            first = np.flatnonzero(late > 0)
            if len(first) > MOST_BEHIND:
                first = first[np.argpartition(-late[first], MOST_BEHIND)[:MOST_BEHIND]]
            ids, of = np.append(ids, works[first]), np.append(of, keys[first])
            number, lags = np.append(number, np.full(len(first), i)), np.append(lags, late[first])
        order = np.lexsort((ids, -lags))
        order = order[np.sort(np.unique(ids[order], return_index=True)[1])][:MOST_BEHIND]
        return cls(ids[order], of[order], number[order], *rates.beta(ids[order]))

    def still(self, floors: Sequence[FloorCounts], now_ms: int) -> Behind:
        """Without those whose unit has caught up."""
        late = np.zeros(len(self.ids))
        for i, counts in enumerate(floors):
            of = self.floors == i
            late[of] = counts.lags_of(self.units[of], now_ms)
        keep = late > 0
        if keep.all():
            return self
        return Behind(self.ids[keep], self.units[keep], self.floors[keep], self.alpha[keep], self.beta[keep])


@dataclass(frozen=True, eq=False)
class Boosts:
    """Prices ≤ 0 by work and by creator, and the works to explore."""

    works: Keyed
    creators: Keyed
    behind: Behind

    @classmethod
    def of(
        cls, floors: Sequence[FloorCounts], units: Sequence[Units], now_ms: int, bound: float, rates: Rates
    ) -> Self:
        def prices(of_works: bool) -> Keyed:
            parts = [
                (c.keys, c.prices_of(c.keys, now_ms, bound)) for c in floors if c.floor.of_works == of_works
            ]
            return Keyed.sum_of(
                [merged([(keys[price < 0], price[price < 0]) for keys, price in parts], least=True)]
            )

        return cls(prices(True), prices(False), Behind.of(floors, units, now_ms, rates))

    def after(
        self,
        floors: Sequence[FloorCounts],
        works: NDArray[Any],
        creators: NDArray[Any],
        now_ms: int,
        bound: float,
    ) -> Boosts:
        """With the prices of the shown ``works`` and ``creators`` as they are now."""

        def now(keys: NDArray[Any], of_works: bool) -> NDArray[Any]:
            each = [c.prices_of(keys, now_ms, bound) for c in floors if c.floor.of_works == of_works]
            return np.min(each, axis=0) if each else np.zeros(len(keys))

        return Boosts(
            self.works.with_values(works, now(works, True)),
            self.creators.with_values(creators, now(creators, False)),
            self.behind.still(floors, now_ms),
        )
