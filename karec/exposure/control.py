"""Updates a price from what was shown, by projected dual ascent.

A constraint "group g has the share s of the places" has a price λ, in standard deviations of a request's
scores; works of the group are ordered by score − λ. After each feed, n_g of whose n places the group had,
with w = s·(1 − s):

    λ ← clip(λ + rate · (n_g − s·n) / (10·w), −bound, bound)               a cap's λ: clip at 0 … bound

A share answers its price by about −w a unit, as a logistic function does, so that dividing by w gives every
group the same pace: a price has gone most of its way after 1/rate feeds of ten. While λ is inside its bounds,
dual ascent keeps
|shown − s·places| ≤ 20·bound·w/rate however long it runs: the sum of what it has added to λ is at most
2·bound.

Source: online mirror descent for allocation (Balseiro, Lu and Mirrokni 2020, "Dual mirror descent for online
allocation problems"), with the Euclidean mirror map. O(G) a feed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLACES = 10.0  # a feed of so many places moves a price by ``rate``
LEAST_W = 0.005  # of shares near 0 and 1


@dataclass(frozen=True)
class Law:
    """The dual update of all targets. ``prices`` are (G,) float64, 0 before the first feed."""

    rate: float
    bound: float

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be above 0 and at most 1, got {self.rate}")
        if not 0 < self.bound <= 100:
            raise ValueError(f"bound must be above 0 and at most 100 standard deviations, got {self.bound}")

    def moved(self, prices: NDArray[Any], shares: NDArray[Any], shown: NDArray[Any], n: int) -> NDArray[Any]:
        """Returns the prices after a feed of ``n`` works, ``shown (G,)`` of them in each group.

        ``shares (G,)``: the desired fractions.
        """
        w = np.maximum(shares * (1.0 - shares), LEAST_W)
        pull = self.rate * (shown - shares * n) / (PLACES * w)
        return np.asarray(np.clip(prices + pull, -self.bound, self.bound))

    def capped(self, price: float, share: float, shown: int, n: float) -> float:
        """The price of a cap ``share`` after ``n`` places, ``shown`` of them of its group. O(1) for any
        ``n``."""
        pull = self.rate * (shown - share * n) / (PLACES * max(share * (1.0 - share), LEAST_W))
        return min(max(price + pull, 0.0), self.bound)
