"""Scorer that raises new items. The native library computes it (``karec/freshness.hpp``)."""

from __future__ import annotations

import numpy as np

from karec import _native
from karec.index import IndexSchema
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request


class Freshness(Scorer):
    """score + weight · 2^(−age / half life).

    Settings:
        weight: in units of the score; finite.
        half_life_hours: hours > 0.
    """

    needs = ("rows", "scores")

    def __init__(self, schema: IndexSchema, weight: float, half_life_hours: float = 24.0) -> None:
        schema.check_column("upload_ms")
        if not half_life_hours > 0:
            raise ValueError(f"half_life_hours must be positive, got {half_life_hours}")
        if not np.isfinite(weight):
            raise ValueError(f"weight must be finite, got {weight}")
        self.schema = schema
        self.weight = weight
        self.half_life_hours = half_life_hours

    def score(self, request: Request, candidates: Candidates) -> Array:
        now_ms = 0 if request.time_ms is None else request.time_ms
        upload_ms = request.column("upload_ms", candidates)
        return _native.freshness(candidates.scores, upload_ms, now_ms, self.weight, self.half_life_hours)
