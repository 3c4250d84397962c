"""Any order at all: what a prerank that knows something is compared with."""

from __future__ import annotations

import numpy as np

from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request

MASK = 2**63 - 1


class RandomOrder(Scorer):
    """Scores in [0, 1) drawn by the user and the moment of the request: the same request gets the same ones.
    O(N)."""

    def score(self, request: Request, candidates: Candidates) -> Array:
        seed = [request.user_number & MASK, (request.time_ms or 0) & MASK]
        return np.random.default_rng(seed).random(len(candidates), np.float32)
