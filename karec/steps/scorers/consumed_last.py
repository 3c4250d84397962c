"""Scorer that puts items that the user consumed behind all others."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.consumed import find_consumed


class ConsumedLast(Scorer):
    """Lowers the scores of items that `not_consumed` kept to fill the page below those of all others.

    Cost: O(N log S) for S consumed items.
    """

    needs = ("scores",)

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def score(self, request: Request, candidates: Candidates) -> Array:
        scores, consumed = candidates.scores, find_consumed(request, self.snapshot, candidates)
        if not consumed.any():
            return scores
        return np.where(consumed, scores - np.ptp(scores) - 1, scores)
