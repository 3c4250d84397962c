"""Rows of the item index for the candidates, and the filters that need no score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.features.found import is_found
from karec.index import ItemIndex
from karec.pipeline.step import Filter, Hydrator
from karec.pipeline.types import Array, Candidates, Request


class IndexRows(Hydrator):
    """``rows`` of the item index; −1 for a work whose embedding is missing, which the trace counts as
    unknown.

    Works whose rows recall found in the request's view are not looked up again.
    """

    gives = ("rows",)

    def __init__(self, index: ItemIndex) -> None:
        self.index = index

    def hydrate(self, request: Request, candidates: Candidates) -> Mapping[str, Array]:
        index = request.index
        known = candidates.rows if index.found_here(candidates.rows) else None
        return {"rows": index.lookup(candidates.ids, known)}


class HasEmbedding(Filter):
    """Drops works that the item index does not know; the trace says how many."""

    reason = "no embedding in the item index"
    needs = ("rows",)

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return np.asarray(candidates.rows >= 0)


class NotShown(Filter):
    """Drops what this session has shown already (``request.shown``). O(N · shown)."""

    reason = "shown already"

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return np.isin(candidates.ids, np.array(request.shown, np.int64), invert=True)


class IsOn(Filter):
    """Drops items that the index blocks at this moment: rooms that are off, works that are taken down.
    O(N)."""

    reason = "off, or blocked"

    def __init__(self, index: ItemIndex) -> None:
        self.index = index

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return is_found(request.index, self.index.dim, candidates.ids)
