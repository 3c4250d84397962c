"""Filter that limits the items of one creator, song or other group."""

from __future__ import annotations

from karec import _native
from karec.index import IndexSchema
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class Quota(Filter):
    """Keeps the ``at_most`` items with the highest scores of each value of ``column``.

    Settings:
        column: integer column of the index.
        at_most: maximum number of items with one value.

    Cost: O(N log N).
    """

    reason = "over the quota of its group"
    needs = ("rows", "scores")

    def __init__(self, schema: IndexSchema, column: str, at_most: int) -> None:
        schema.check_column(column)
        if at_most <= 0:
            raise ValueError(f"at_most must be positive, got {at_most}")
        self.schema = schema
        self.column = column
        self.at_most = at_most

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return _native.quota(candidates.scores, request.column(self.column, candidates), self.at_most)
