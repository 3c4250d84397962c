"""Tone: a floor under a score that screening or moderation gave."""

from __future__ import annotations

from karec import _native
from karec.index import IndexSchema
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class Tone(Filter):
    """Drops works whose ``column`` (a number that screening or moderation gave) is below ``at_least``.

    A floating column is compared in its own dtype, so that a float32 0.7 passes a floor of 0.7.
    """

    reason = "below the floor of tone"
    needs = ("rows",)

    def __init__(self, schema: IndexSchema, column: str, at_least: float) -> None:
        schema.check_column(column)
        self.schema = schema
        self.column = column
        self.at_least = at_least

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return _native.tone(request.column(self.column, candidates), self.at_least)
