"""Prerank's scoring: ids → rows of the item index → inner product with the user vector → the best k, in C++."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.errors import Unavailable
from karec.index import ItemIndex
from karec.stage import Filter, Hydrator, Selector
from karec.types import Array, Candidates, Request, Selection


class IndexRows(Hydrator):
    """``rows`` of the item index; −1 for a work whose embedding is missing, which the trace counts as unknown."""

    def __init__(self, index: ItemIndex) -> None:
        self.index = index

    def hydrate(self, request: Request, candidates: Candidates) -> Mapping[str, Array]:
        return {"rows": self.index.lookup(candidates.ids)}


class HasEmbedding(Filter):
    """Drops works that the item index does not know; the trace says how many."""

    why = "no embedding in the item index"

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return np.asarray(candidates.rows >= 0)


class NotShown(Filter):
    """Drops what this session has shown already (``request.shown``). O(N · shown)."""

    why = "shown already"

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return np.isin(candidates.ids, np.array(request.shown, np.int64), invert=True)


class InnerProduct(Selector):
    """The ``k`` candidates with the largest ⟨user vector, item vector⟩, rows → dot → top-k in one native call."""

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
