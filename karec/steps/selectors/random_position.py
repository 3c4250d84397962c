"""Selector that puts the first candidates in random order, for a share of requests."""

from __future__ import annotations

import numpy as np

from karec.pipeline.step import Selector
from karec.pipeline.trace import RANDOMISED
from karec.pipeline.types import Candidates, Request, Selection


class RandomPosition(Selector):
    """The candidates in their order; for a share of requests, the first ``n`` in random order.

    Each of these ``n`` is then at each of their positions with probability 1 / n. The rank log writes this
    as ``propensity`` of all ``n``, so a scene has both, and this step is its last one. ``karec evaluate
    off-policy`` compares other orders with it. The random order can break rules on neighbours and reserved
    positions. If ``n`` is more than the request's k, the
    previous selector needs a setting ``k``. A repeated request id gives the same order.

    Settings:
        share: fraction in (0, 1] of requests with random order; only the request's id decides.
        n: number of first candidates whose positions are random, at least 2.
    """

    def __init__(self, share: float, n: int) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        if n < 2:
            raise ValueError(f"n must be at least 2, got {n}")
        self.share = share
        self.n = n

    def select(self, request: Request, candidates: Candidates) -> Selection:
        indices = np.arange(len(candidates))
        if request.seed >= self.share * 2**64:
            return Selection(indices[: request.k])
        n = min(self.n, len(candidates))
        indices[:n] = np.random.default_rng(request.seed).permutation(n)
        return Selection(indices[: request.k], notes={RANDOMISED: candidates.ids[:n].tolist()})
