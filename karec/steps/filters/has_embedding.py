"""Filter that keeps items with a vector."""

from __future__ import annotations

import numpy as np

from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class HasEmbedding(Filter):
    """Drops items without a row in the item index. The trace counts them."""

    reason = "no embedding in the item index"
    needs = ("rows",)

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return np.asarray(candidates.rows >= 0)
