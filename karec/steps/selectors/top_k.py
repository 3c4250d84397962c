"""Selector of the best candidates by score."""

from __future__ import annotations

import numpy as np

from karec.features.explored import explored_places, with_room
from karec.pipeline.step import Selector
from karec.pipeline.types import Array, Candidates, Request, Selection


class TopK(Selector):
    """The ``k`` best by score (``request.k`` when none is given), ties by position. O(N + k log k).

    With a ``k`` of its own, works that the request explores (``karec.features.explored``) take the last of
    its places.
    """

    needs = ("scores",)

    def __init__(self, k: int | None = None) -> None:
        if k is not None and k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        self.k = k

    def select(self, request: Request, candidates: Candidates) -> Selection:
        k = request.k if self.k is None else self.k
        best = _best(candidates.scores, k)
        explored = np.empty(0, np.int64) if self.k is None else explored_places(request, candidates)
        if not len(explored):
            return Selection(best)
        staying, coming = with_room(best, explored, k)
        return Selection(np.append(best[staying], coming))


def _best(scores: Array, k: int) -> Array:
    """The positions of the ``k`` largest of ``scores (N,)``, largest first, ties by position."""
    falling = -scores
    near = (
        np.arange(len(scores))
        if k >= len(scores)
        else np.flatnonzero(falling <= np.partition(falling, k - 1)[k - 1])
    )
    return np.asarray(near[np.argsort(falling[near], kind="stable")][:k])
