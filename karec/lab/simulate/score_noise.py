"""Random noise on scores: undirected exploration, a baseline of exposure control."""

from __future__ import annotations

import numpy as np

from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request


class ScoreNoise(Scorer):
    """Scorer: score + weight · standard deviation of the request's scores · N(0, 1), for a share of requests.

    A large weight makes the order random: with ``share`` ε this is ε-greedy exploration among the candidates.
    Equal requests get equal noise.

    Settings:
        weight: standard deviations of the request's scores, above 0.
        share: fraction in (0, 1] of requests.

    Cost: O(N).
    """

    needs = ("scores",)

    def __init__(self, weight: float, share: float = 1.0) -> None:
        if not (weight > 0 and 0 < share <= 1):
            raise ValueError(f"expected weight > 0 and share in (0, 1], got {weight} and {share}")
        self.weight = weight
        self.share = share

    def score(self, request: Request, candidates: Candidates) -> Array:
        scores = candidates.scores
        rng = np.random.default_rng(request.seed)
        if not len(scores) or rng.random() >= self.share:
            return scores
        noise = self.weight * scores.std() * rng.standard_normal(len(scores))
        return np.asarray(scores + noise, np.float32)
