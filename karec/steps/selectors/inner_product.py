"""Inner product of the user vector with the candidates' item vectors, and the best k, in one native call."""

from __future__ import annotations

import numpy as np

from karec.features.explored import explored_places, with_room
from karec.features.user_vectors import user_queries
from karec.index import ItemIndex
from karec.pipeline.step import Selector
from karec.pipeline.types import Candidates, Request, Selection


class InnerProduct(Selector):
    """The ``k`` candidates with the largest ⟨user vector, item vector⟩, rows → dot → top-k in one native
    call.

    Each row meets the user vector of its own model version. Skipped, and counted in the notes: ``unknown``
    candidates without a row, and those ``without_user_vector`` for their version. Works that the request
    explores (``karec.features.explored``) take the last places, whatever their score, where a search would
    find them.
    """

    needs = ("request.user_vector", "rows")
    gives = ("scores",)
    is_rule = True  # a search leaves out what the index blocks
    k: int

    def __init__(self, index: ItemIndex, k: int) -> None:
        if k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        self.index = index
        self.k = k

    def select(self, request: Request, candidates: Candidates) -> Selection:
        one, by_version = user_queries(request)
        found = request.index.search(one, rows=candidates.rows, k=self.k, query_by_version=by_version)
        notes = {"unknown": found.unknown}
        if by_version is not None:
            notes = {
                "unknown": candidates.n_unknown,
                "without_user_vector": found.unknown - candidates.n_unknown,
            }
        places, scores = found.positions, found.scores
        explored = explored_places(request, candidates)
        if len(explored):
            kept = request.index.search(
                one, rows=candidates.rows[explored], k=self.k, query_by_version=by_version
            )
            # without those that a search skips: blocked, of another version
            explored = explored[kept.positions]
            staying, coming = with_room(places, explored, self.k)
            score_of = dict(zip(explored.tolist(), kept.scores.tolist(), strict=True))
            scores = np.append(scores[staying], [score_of[place] for place in coming.tolist()])
            places = np.append(places[staying], coming)
        return Selection(places, scores, notes)
