"""Row of each candidate in the item index."""

from __future__ import annotations

from collections.abc import Mapping

from karec.index import IndexSchema
from karec.pipeline.step import Hydrator
from karec.pipeline.types import Array, Candidates, Request


class IndexRows(Hydrator):
    """Adds ``rows`` of the request's index view; −1 for an item without a vector, counted by the trace.

    Rows that recall found in the same view are not looked up again.
    """

    gives = ("rows",)

    def __init__(self, schema: IndexSchema) -> None:
        self.schema = schema

    def hydrate(self, request: Request, candidates: Candidates) -> Mapping[str, Array]:
        index = request.index
        known_rows = candidates.rows if index.has_rows(candidates.rows) else None
        return {"rows": index.lookup(candidates.ids, known_rows)}
