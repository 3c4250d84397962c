"""Filter that drops the user's own items."""

from __future__ import annotations

import numpy as np

from karec.catalog.schema import CREATOR
from karec.index import IndexSchema
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class NotOwn(Filter):
    """Drops items that the user made, and items without a row. A creator's item is the creator.

    Cost: O(N).
    """

    reason = "made by the user"
    needs = ("rows",)

    def __init__(self, schema: IndexSchema) -> None:
        schema.check_column(CREATOR)
        self.schema = schema

    def keep(self, request: Request, candidates: Candidates) -> Array:
        creators = request.index.gather(CREATOR, candidates.rows)
        # Unknown users and unknown creators both have negative numbers.
        own = (creators == request.user_number) & (creators >= 0)
        return np.asarray((candidates.rows >= 0) & ~own)
