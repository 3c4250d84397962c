"""Source of the items with the largest inner product with the user's ALS factors.

x = (G + Σ_j y_j y_jᵀ)⁻¹ Σ_j y_j for the items j that the user enjoyed, and the score of item i is x·y_i
(``karec.features.cowatch``).

Cost  O(H·F² + F³ + K·F) per request for H items of the user, F factors and K items with factors. The
      search is exact, over factors in float16.
"""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.features.cowatch import CowatchVectors
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.postings import latest_rows


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
        if quota <= 0 or items <= 0:
            raise ValueError(f"quota and items must be positive, got {quota} and {items}")
        if encoder.cowatch is None or encoder.cowatch.als is None:
            raise ValueError(
                "als needs ALS factors, and training made none: too few items have enough users who "
                "enjoyed them"
            )
        self.snapshot = snapshot
        self.quota = quota
        self.items = items
        cowatch = encoder.cowatch
        self.gram = encoder.cowatch.als.grams[0]
        self.factors = encoder.cowatch.als.vectors[0]
        self.codes, self.index = snapshot.built.get("ALS factors", lambda: _build_index(snapshot, cowatch))

    def recall(self, request: Request) -> Candidates:
        codes = np.unique(self.codes[latest_rows(request, self.snapshot, "history", self.items)])
        enjoyed = self.factors[codes[codes > 0]].astype(np.float64)
        if not len(enjoyed):
            return Candidates.empty()
        user = np.linalg.solve(self.gram + enjoyed.T @ enjoyed, enjoyed.sum(axis=0))
        nearest = self.index.search(user[None].astype(np.float32), k=min(self.quota, len(self.index)))
        return Candidates.from_ids(np.asarray(self.snapshot.works.ids)[nearest.ids[0]], nearest.scores[0])


def _build_index(snapshot: Snapshot, cowatch: CowatchVectors) -> tuple[Array, ItemIndex]:
    """Returns the codes (N,) of all works, 0 without factors, and an index of the factors by work row."""
    assert cowatch.als is not None
    codes = cowatch.codes(np.asarray(snapshot.works.ids))
    has_factors = codes > 0
    return codes, ItemIndex.build(np.flatnonzero(has_factors), cowatch.als.vectors[0][codes[has_factors]])
