"""Selector of the candidates with the largest inner product of user and item vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from karec import _native
from karec.features.user_vectors import user_query, user_tables
from karec.index import IndexSchema
from karec.pipeline.step import Selector
from karec.pipeline.types import Array, Candidates, Request, Selection

MORE_ITEMS = 4  # times, of the next search; as in native/src/stages/steps.cpp


class InnerProduct(Selector):
    """The ``k`` candidates with the largest ⟨user vector, item vector⟩, plus the tables of wide towers.

    Each row is scored by the user vector of its model version. Blocked items are skipped, also candidates
    without a row (``unknown``) or ``without_user_vector``, which the notes count.

    Settings:
        k: maximum number of items.
        only_warm: order by the scores for a user without events.
        at_most: {integer column: maximum number of items with one value}, among the ``k`` best items. If
            fewer than ``min_items`` are left, among the 4·k best, and so on.
        min_items: see ``at_most``. Absent: k.
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
        at_most: Mapping[str, int] = MappingProxyType({}),
        min_items: int | None = None,
    ) -> None:
        if k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        if min_items is not None and not (at_most and 0 <= min_items <= k):
            raise ValueError(f"min_items goes with at_most and is at most k, got {min_items} and k = {k}")
        for column, count in at_most.items():
            schema.check_column(column, is_integer=True)
            if count <= 0:
                raise ValueError(f"at_most.{column} must be positive, got {count}")
        self.schema = schema
        self.at_most = at_most
        self.min_items = k if min_items is None else min_items
        self.k = k
        self.only_warm = only_warm
        if only_warm:
            self.needs = (*self.needs, "scores", "request.cold_start")

    def select(self, request: Request, candidates: Candidates) -> Selection:
        rows = candidates.rows
        if self.only_warm and request.features["cold_start"][0]:
            open_items = np.flatnonzero(request.index.is_open(ids=candidates.ids))
            best = open_items[np.argsort(-candidates.scores[open_items], kind="stable")]
            return self._cut(request, rows, lambda m: Selection(best[:m], candidates.scores[best[:m]]))
        return self._cut(request, rows, lambda m: self._search(request, candidates, m))

    def _search(self, request: Request, candidates: Candidates, m: int) -> Selection:
        query = user_query(request)
        result = request.index.search(query, m, rows=candidates.rows, tables=user_tables(request))
        notes = {"unknown": result.n_unknown}
        if isinstance(query, dict):
            notes = {
                "unknown": candidates.n_unknown,
                "without_user_vector": result.n_unknown - candidates.n_unknown,
            }
        return Selection(result.positions, result.scores, notes)

    def _cut(self, request: Request, rows: Array, best: Callable[[int], Selection]) -> Selection:
        """Returns the first ``k`` within the quotas of ``best(m)``, the m best candidates, best first."""
        m = self.k
        while True:
            found = best(m)
            assert found.scores is not None
            kept = self._within_quotas(request, rows[found.indices], found.scores)
            if not self.at_most or len(kept) >= self.min_items or len(found.indices) < m:
                kept = kept[: self.k]
                return Selection(found.indices[kept], found.scores[kept], found.notes)
            m *= MORE_ITEMS

    def _within_quotas(self, request: Request, rows: Array, scores: Array) -> Array:
        """Returns the positions of the items of ``rows`` (N,), best first, that are within the quotas."""
        kept = np.arange(len(rows))
        for column, count in self.at_most.items():
            values = request.index.gather(column, rows[kept])
            kept = kept[_native.quota(scores[kept], values, count)]
        return kept
