"""Selector of the best candidates by score."""

from __future__ import annotations

import numpy as np

from karec.pipeline.step import Selector
from karec.pipeline.types import Array, Candidates, Request, Selection


class TopK(Selector):
    """The ``k`` candidates with the highest scores, ties by position.

    Settings:
        k: maximum number of items. Absent: the request's k.

    Cost: O(N + k log k).
    """

    needs = ("scores",)

    def __init__(self, k: int | None = None) -> None:
        if k is not None and k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        self.k = k

    def select(self, request: Request, candidates: Candidates) -> Selection:
        return Selection(_best(candidates.scores, request.k if self.k is None else self.k))


def _best(scores: Array, k: int) -> Array:
    """Returns the positions of the ``k`` largest of ``scores (N,)``, largest first, ties by position."""
    negated = -scores
    near = (
        np.arange(len(scores))
        if k >= len(scores)
        else (negated <= np.partition(negated, k - 1)[k - 1]).nonzero()[0]
    )
    return np.asarray(near[negated[near].argsort(kind="stable")][:k])
