"""Popularity penalty: a baseline of exposure control that uses only counters of the day before."""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import EXPOSED
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.scorers.blend import standardise


class PopularityPenalty(Scorer):
    """Scorer: score − weight · standard deviation of the scores · standardised log(1 + impressions).

    Settings:
        weight: standard deviations of the request's scores.

    Cost: O(N).
    """

    needs = ("scores",)

    def __init__(self, snapshot: Snapshot, weight: float) -> None:
        self.weight = weight
        self.works = snapshot.works
        self.popularity = np.log1p(np.asarray(self.works[EXPOSED], np.float64))

    def score(self, request: Request, candidates: Candidates) -> Array:
        scores = candidates.scores
        popularity = standardise(self.popularity[self.works.lookup(candidates.ids)])
        return np.asarray(scores - self.weight * np.std(scores) * popularity, np.float32)
