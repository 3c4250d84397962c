"""Selector of the candidates with the largest inner product of user and item vector."""

from __future__ import annotations

from karec.features.user_vectors import user_query
from karec.index import IndexSchema
from karec.pipeline.step import Selector
from karec.pipeline.types import Candidates, Request, Selection


class InnerProduct(Selector):
    """The ``k`` candidates with the largest ⟨user vector, item vector⟩, in one native call.

    Each row is scored by the user vector of its own model version. Candidates without a row (``unknown``) or
    ``without_user_vector`` for their version are skipped and counted in the notes. Blocked items are skipped.

    Settings:
        k: maximum number of items.
    """

    needs = ("request.user_vector", "rows")
    gives = ("scores",)
    is_rule = True  # a search leaves out blocked items
    k: int

    def __init__(self, schema: IndexSchema, k: int) -> None:
        if k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        self.schema = schema
        self.k = k

    def select(self, request: Request, candidates: Candidates) -> Selection:
        query = user_query(request)
        result = request.index.search(query, self.k, rows=candidates.rows)
        notes = {"unknown": result.n_unknown}
        if isinstance(query, dict):
            notes = {
                "unknown": candidates.n_unknown,
                "without_user_vector": result.n_unknown - candidates.n_unknown,
            }
        return Selection(result.positions, result.scores, notes)
