"""Filter that drops what the session was shown."""

from __future__ import annotations

import numpy as np

from karec.pipeline.step import Filter
from karec.pipeline.types import Array, Candidates, Request


class NotShown(Filter):
    """Drops what this session has shown already (``request.shown``). O(N · shown)."""

    reason = "shown already"

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return np.isin(candidates.ids, np.array(request.shown, np.int64), invert=True)
