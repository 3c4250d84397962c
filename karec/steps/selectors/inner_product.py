"""Selector of the candidates with the largest inner product of user and item vector."""

from __future__ import annotations

import numpy as np

from karec.bundle import Bundle
from karec.bundle.item_types import ItemTypeBundle
from karec.features.cross_tables import USER_LISTS
from karec.features.prerank_scores import WideScores
from karec.features.user_vectors import user_query
from karec.index import IndexSchema
from karec.pipeline.step import Selector
from karec.pipeline.types import Candidates, Request, Selection


class InnerProduct(Selector):
    """The ``k`` candidates with the largest ⟨user vector, item vector⟩.

    Each row is scored by the user vector of its model version, plus the tables of wide towers. Blocked items
    are skipped, also candidates without a row (``unknown``) or ``without_user_vector``, which the notes
    count.

    Settings:
        k: maximum number of items.
        only_warm: order by the scores for a user without events.
    """

    needs: tuple[str, ...] = ("request.user_vector", "rows")
    gives = ("scores",)
    is_rule = True  # a search leaves out blocked items
    k: int

    def __init__(
        self,
        schema: IndexSchema,
        k: int,
        only_warm: bool = False,
        bundle: Bundle | ItemTypeBundle | None = None,
    ) -> None:
        if k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        self.schema = schema
        self.k = k
        self.only_warm = only_warm
        if only_warm:
            self.needs = (*self.needs, "scores", "request.cold_start")
        self.wide_scores: WideScores | None = None
        if bundle is not None and bundle.cross_weights is not None:
            self.wide_scores = WideScores(schema, bundle.encoder, bundle.cross_weights)
            self.needs = (*self.needs, *(f"request.{name}" for name in USER_LISTS))

    def select(self, request: Request, candidates: Candidates) -> Selection:
        if self.only_warm and request.features["cold_start"][0]:
            open_items = np.flatnonzero(request.index.is_open(ids=candidates.ids))
            best = open_items[np.argsort(-candidates.scores[open_items], kind="stable")][: self.k]
            return Selection(best, candidates.scores[best])
        if self.wide_scores is not None:
            scores = self.wide_scores.score(request, candidates.rows)
            is_found = np.isfinite(scores)
            best = np.argsort(-scores, kind="stable")[: min(self.k, int(is_found.sum()))]
            return Selection(best, scores[best], {"unknown": candidates.n_unknown})
        query = user_query(request)
        result = request.index.search(query, self.k, rows=candidates.rows)
        notes = {"unknown": result.n_unknown}
        if isinstance(query, dict):
            notes = {
                "unknown": candidates.n_unknown,
                "without_user_vector": result.n_unknown - candidates.n_unknown,
            }
        return Selection(result.positions, result.scores, notes)
