"""Source of the items with the largest inner product with the user's ALS factors.

x = (G + Σ_j y_j y_jᵀ)⁻¹ Σ_j y_j for the items j that the user enjoyed, and the score of item i is x·y_i
(``karec.features.cowatch``).

Cost  O(H·F² + F³ + K·F) per request for H items of the user, F factors and K items with factors. The
      search is exact, over factors in float16.
"""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request
from karec.steps.shared.allowed_works import allowed_works
from karec.steps.shared.als import UserAls


class Als(Source):
    """The ``quota`` items with the largest inner product with the user's ALS vector, which is their score.

    The vector is made of the items that the user enjoyed last. An item has factors if enough users had
    enjoyed it before the training.

    Settings:
        items: maximum number of items of the user.
    """

    is_verified = True  # tests/steps/sources/test_als.py
    reason = "enjoyed by users who enjoyed what this user enjoyed"

    def __init__(self, snapshot: Snapshot, encoder: Encoder, quota: int, items: int = 100) -> None:
        if quota <= 0:
            raise ValueError(f"quota must be positive, got {quota}")
        self.snapshot = snapshot
        self.quota = quota
        self.user = UserAls.build(snapshot, encoder, items)
        self.index = snapshot.built.get("ALS factors", lambda: _build_index(self.user))

    def recall(self, request: Request) -> Candidates:
        vector = self.user.vector(request)
        if vector is None:
            return Candidates.empty()
        allowed, query = allowed_works(request, self.snapshot), vector.astype(np.float32)
        with self.index.pinned() as view:
            mask = None if allowed is None else allowed[view.ids]
            nearest = view.search(query, min(self.quota, len(view)), mask=mask)
        return Candidates.from_ids(np.asarray(self.snapshot.works.ids)[nearest.ids], nearest.scores)


def _build_index(user: UserAls) -> ItemIndex:
    """Returns an index of the factors by work row."""
    rows = np.flatnonzero(user.codes)
    return ItemIndex.build(rows, user.factors.vectors[0][user.codes[rows]])
