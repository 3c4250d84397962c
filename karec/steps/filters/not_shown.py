"""Filter that drops what the session was shown."""

from __future__ import annotations

import numpy as np

from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class NotShown(Filter):
    """Drops the items in ``request.shown``. Cost: O(N log S) for S shown items."""

    reason = "shown already"

    def keep(self, request: Request, candidates: Candidates) -> Array:
        if not request.shown:
            return np.ones(len(candidates), bool)
        return np.isin(candidates.ids, np.array(request.shown, np.int64), invert=True)
