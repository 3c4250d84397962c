"""Random order of candidates, a lower bound for any method of prerank."""

from __future__ import annotations

import numpy as np

from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request

MASK = 2**63 - 1


class RandomOrder(Scorer):
    """Draws scores in [0, 1) from user and time: equal requests have equal scores. Cost: O(N)."""

    def score(self, request: Request, candidates: Candidates) -> Array:
        seed = [request.user_number & MASK, (request.time_ms or 0) & MASK]
        return np.random.default_rng(seed).random(len(candidates), np.float32)
