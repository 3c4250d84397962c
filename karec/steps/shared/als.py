"""ALS vectors x of the users of requests, from the items that they enjoyed last: see ``features.cowatch``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.features.cowatch import AlsFactors
from karec.features.encoder import Encoder
from karec.pipeline.types import Array, Request
from karec.steps.shared.postings import latest_rows


@dataclass(frozen=True, eq=False)
class UserAls:
    """Makes vectors of users.

    codes    (N,) int64 rows of the factors by work row, 0 without factors
    items    maximum number of items of a user
    """

    snapshot: Snapshot
    factors: AlsFactors
    codes: Array
    items: int

    @classmethod
    def build(cls, snapshot: Snapshot, encoder: Encoder, items: int) -> Self:
        """Raises ValueError if the encoder has no factors."""
        if items <= 0:
            raise ValueError(f"items must be positive, got {items}")
        cowatch = encoder.cowatch
        if cowatch is None or cowatch.als is None:
            raise ValueError(
                "training made no ALS factors, which this step needs: too few items have enough users who "
                "enjoyed them"
            )
        codes = snapshot.built.get("ALS codes", lambda: cowatch.codes(np.asarray(snapshot.works.ids)))
        return cls(snapshot, cowatch.als, codes, items)

    def vector(self, request: Request) -> Array | None:
        """Returns x (F,) float64; None if the user enjoyed no item that has factors."""
        enjoyed = self.codes[latest_rows(request, self.snapshot, "history", self.items)]
        return self.factors.user_vector(enjoyed) if enjoyed.any() else None
