"""Filter that drops items below a score of screening or moderation."""

from __future__ import annotations

from karec import _native
from karec.index import IndexSchema
from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class Tone(Filter):
    """Drops items whose ``column`` is below ``at_least``.

    Settings:
        column: column of the index, for example a moderation score.
        at_least: lower bound. The comparison has the dtype of the column: 0.7 keeps a float32 0.7.
    """

    reason = "below the tone limit"
    needs = ("rows",)

    def __init__(self, schema: IndexSchema, column: str, at_least: float) -> None:
        schema.check_column(column)
        self.schema = schema
        self.column = column
        self.at_least = at_least

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return _native.tone(request.column(self.column, candidates), self.at_least)
