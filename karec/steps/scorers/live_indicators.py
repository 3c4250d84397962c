"""Scorer by live indicators: rates of items among all users.

An indicator is the rate of a label per impression of an item. It is smoothed towards the rate of the item's
creator, which is smoothed towards the mean of all items. It is as new as the snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.aggregates.indicators import indicator_weights, indicators
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request


class LiveIndicators(Scorer):
    """score = Σ weight · smoothed rate of the item, over labels. An unknown item has the mean of all items.

    Settings:
        weights: factor of each label. Absent: 1 for the last counted label that means enjoyed and 1 for the
            one that means liked.

    Cost: O(N log works).
    """

    def __init__(self, snapshot: Snapshot, weights: Mapping[str, float] | None = None) -> None:
        self.weights = indicator_weights(snapshot, weights)
        self.snapshot = snapshot
        self.rates, self.mean = indicators(snapshot, self.weights)

    def score(self, request: Request, candidates: Candidates) -> Array:
        rows = self.snapshot.works.lookup(candidates.ids)
        return np.where(rows < 0, np.float32(self.mean), self.rates[rows])
