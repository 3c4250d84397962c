"""What the towers say of an item for this user, blended with how the item does with everybody.

Items other than works have no ranker: ⟨user, item⟩ says whose taste they meet, and what a scene is for (songs
that are sung, minutes in a room, follows) is in the labels of the rates. Minutes are weights of labels that
say how long: an expected time is Σ (length of the step) · P(at least so long).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.aggregates.indicators import indicator_weights, indicators
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request


class Blend(Scorer):
    """score = (1 − share) · standardised score + share · standardised Σ weight · rate, over the candidates.

    ``weights``: {label: weight} as ``live_indicators`` has them; None: its own. O(N log items).
    """

    needs = ("scores",)

    def __init__(self, snapshot: Snapshot, share: float, weights: Mapping[str, float] | None = None) -> None:
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share must be in [0, 1], got {share}")
        self.share = share
        self.snapshot = snapshot
        self.rates, self.mean = indicators(snapshot, indicator_weights(snapshot, weights))

    def score(self, request: Request, candidates: Candidates) -> Array:
        row = self.snapshot.works.lookup(candidates.ids)
        with_everybody = np.where(row < 0, self.mean, self.rates[row])
        score = (1.0 - self.share) * standardised(candidates.scores) + self.share * standardised(
            with_everybody
        )
        return np.asarray(score, np.float32)


def standardised(values: Array) -> Array:
    """(N,) float64 of mean 0 and deviation 1; zeros where all values are the same."""
    values = np.asarray(values, np.float64)
    deviation = values.std() if len(values) else 0.0
    return (values - values.mean()) / deviation if deviation > 0 else np.zeros(len(values))
