"""Filter that drops items that the user consumed, for example bought."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Filter
from karec.pipeline.trace import N_FILLED
from karec.pipeline.types import Array, Candidates, Request, StepOutput
from karec.steps.shared.consumed import find_consumed


class NotConsumed(Filter):
    """Drops items of the user's relation `consumed`.

    If fewer others remain than the request asks for, the consumed ones with the highest scores fill the page,
    and its shortfall says so. Without the relation, no label means consumed and nothing is dropped.

    Cost: O(N log S) for S consumed items.
    """

    reason = "consumed before"
    needs = ("scores",)

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def keep(self, request: Request, candidates: Candidates) -> Array | StepOutput[Array]:
        consumed = np.flatnonzero(find_consumed(request, self.snapshot, candidates))
        kept = np.ones(len(candidates), bool)
        kept[consumed] = False
        n_missing = request.k - (len(candidates) - len(consumed))
        if n_missing <= 0 or not len(consumed):
            return kept
        best = consumed[np.argsort(-candidates.scores[consumed], kind="stable")][:n_missing]
        kept[best] = True
        return StepOutput(kept, {N_FILLED: len(best)})
