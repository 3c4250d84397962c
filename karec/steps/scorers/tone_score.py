"""Scorer that raises items by a score of screening or moderation."""

from __future__ import annotations

import numpy as np

from karec.index import IndexSchema
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request


class ToneScore(Scorer):
    """score + weight · tone. An item without a tone (NaN) keeps its score.

    Settings:
        column: column of the index, for example a moderation score.
        weight: in units of the score; finite.
    """

    needs = ("rows", "scores")

    def __init__(self, schema: IndexSchema, column: str, weight: float) -> None:
        schema.check_column(column)
        if not np.isfinite(weight):
            raise ValueError(f"weight must be finite, got {weight}")
        self.schema = schema
        self.column = column
        self.weight = weight

    def score(self, request: Request, candidates: Candidates) -> Array:
        tone = request.column(self.column, candidates).astype(np.float32)
        return np.asarray(candidates.scores + np.float32(self.weight) * np.nan_to_num(tone), np.float32)
