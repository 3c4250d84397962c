"""Scorer by the inner product x·y of the user's and the item's ALS factors (``karec.features.cowatch``)."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.features.encoder import Encoder
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.als import UserAls


class AlsScore(Scorer):
    """x·y of the user's ALS vector and the item's factors, and 0 for an item without factors.

    The vector is made of the items that the user enjoyed last. Without such items, scores do not change.

    Settings:
        items: maximum number of items of the user.

    Cost: O(H·F² + F³ + N·(F + log items)) for H items of the user and F factors.
    """

    needs = ("scores",)

    def __init__(self, snapshot: Snapshot, encoder: Encoder, items: int = 100) -> None:
        self.user = UserAls.build(snapshot, encoder, items)

    def score(self, request: Request, candidates: Candidates) -> Array:
        vector = self.user.vector(request)
        if vector is None:
            return candidates.scores
        rows = self.user.snapshot.works.lookup(candidates.ids)
        codes = np.where(rows < 0, 0, self.user.codes[rows])
        return np.asarray(self.user.factors.vectors[0][codes] @ vector.astype(np.float32))
