"""Filter that keeps items with a vector."""

from __future__ import annotations

import numpy as np

from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class HasEmbedding(Filter):
    """Drops works that the item index does not know; the trace says how many."""

    reason = "no embedding in the item index"
    needs = ("rows",)

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return np.asarray(candidates.rows >= 0)
