"""Filter that drops items that the index blocks."""

from __future__ import annotations

from karec.index import IndexSchema
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class IsOpen(Filter):
    """Drops items that the index blocks now, for example closed rooms and removed works. Cost: O(N)."""

    reason = "closed or blocked"

    def __init__(self, schema: IndexSchema) -> None:
        self.schema = schema

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return request.index.is_open(ids=candidates.ids)
