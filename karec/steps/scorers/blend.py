"""Scorer that blends the inner product of the towers with rates of all users.

For scenes without the ranker, or before ``fusion`` with a ``share``. The inner product measures the user's
taste; the rates measure the purpose of the scene (songs sung, minutes in a room, follows). Minutes are
weights of labels of length: an expected time is Σ (length of the step) · P(at least this long).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.live_rates import live_rates


class Blend(Scorer):
    """score = (1 − share) · standardised score + share · standardised Σ weight · rate, over the candidates.

    Settings:
        share: in [0, 1].
        weights: factor of each label, as in ``live_indicators``. Weights in seconds make an expected time.
        by: as in ``live_indicators``.
        half_life: as in ``live_indicators``.

    Cost: O(N log items).
    """

    needs = ("scores",)

    def __init__(
        self,
        snapshot: Snapshot,
        share: float,
        weights: Mapping[str, float] | None = None,
        by: str | None = None,
        half_life: str | None = None,
    ) -> None:
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share must be in [0, 1], got {share}")
        self.share = share
        self.rates = live_rates(snapshot, weights, by, half_life)

    def score(self, request: Request, candidates: Candidates) -> Array:
        rates = self.rates.read(request).values_of(candidates.ids)
        score = (1.0 - self.share) * standardise(candidates.scores) + self.share * standardise(rates)
        return np.asarray(score, np.float32)


def standardise(values: Array) -> Array:
    """Returns (N,) float64 of mean 0 and standard deviation 1; zeros if all values are equal."""
    values = np.asarray(values, np.float64)
    deviation = values.std() if len(values) else 0.0
    return (values - values.mean()) / deviation if deviation > 0 else np.zeros(len(values))
