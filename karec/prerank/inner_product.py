"""Inner product of the user vector with the candidates' item vectors, and the best k, in one native call."""

from __future__ import annotations

from karec.errors import Unavailable
from karec.index import ItemIndex
from karec.stage import Selector
from karec.types import Candidates, Request, Selection


class InnerProduct(Selector):
    """The ``k`` candidates with the largest ⟨user vector, item vector⟩, rows → dot → top-k in one native call."""

    needs = ("request.user_vector", "rows")
    gives = ("scores",)

    def __init__(self, index: ItemIndex, k: int) -> None:
        if k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        self.index = index
        self.k = k

    def select(self, request: Request, candidates: Candidates) -> Selection:
        if "user_vector" not in request.features:
            raise Unavailable("prerank needs a user vector: put the step user_tower into the scene's request")
        found = self.index.search(request.features["user_vector"][0], rows=candidates.rows, k=self.k)
        return Selection(found.positions, found.scores, {"unknown": found.unknown})
