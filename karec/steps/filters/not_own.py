"""Filter that drops the user's own items."""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import CREATOR
from karec.index import IndexSchema
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class NotOwn(Filter):
    """Drops what the user made, and among creators the user. O(N)."""

    reason = "one's own"
    needs = ("rows",)

    def __init__(self, schema: IndexSchema) -> None:
        schema.check_column(CREATOR)
        self.schema = schema

    def keep(self, request: Request, candidates: Candidates) -> Array:
        made_by = request.index.gather(CREATOR, candidates.rows)
        # a stranger's number is as negative as nobody's
        own = (made_by == request.user_number) & (made_by >= 0)
        return np.asarray((candidates.rows >= 0) & ~own)
