"""Quota: at most so many works of one creator or song."""

from __future__ import annotations

from karec import _native
from karec.index import IndexSchema
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class Quota(Filter):
    """At most ``at_most`` works of one value of ``column`` (a creator, a song), the best-scored ones. O(N log
    N)."""

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
