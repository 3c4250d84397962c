"""Prerank as a continuation of recall: works ordered by how they do with everybody, no model.

The talk's first road: real-time indicators sort what recall found (``karec.platform.indicators``).
"""

from __future__ import annotations

from collections.abc import Mapping

from karec.platform.indicators import indicator_of_works, indicator_weights
from karec.platform.snapshot import Snapshot
from karec.stage import Scorer
from karec.types import Array, Candidates, Request


class LiveIndicators(Scorer):
    """score = Σ weight · rate of the work, over the labels of ``weights``.

    ``weights``: {label: weight}; None: of what says enjoyed the label that is counted last, and of what says liked, 1
    each. A work that the snapshot does not know has the mean of all. O(N log works); the rates are computed once.
    """

    def __init__(self, snapshot: Snapshot, weights: Mapping[str, float] | None = None) -> None:
        self.weights = indicator_weights(snapshot, weights)
        self.snapshot = snapshot
        self.rates = indicator_of_works(snapshot, self.weights)

    def score(self, request: Request, candidates: Candidates) -> Array:
        return self.rates[self.snapshot.works.lookup(candidates.ids)]
