"""Items that a user consumed, for the steps that leave them out or put them last."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.postings import related_now

CONSUMED = "consumed"


def find_consumed(request: Request, snapshot: Snapshot, candidates: Candidates) -> Array:
    """Returns (N,) bool: True for items that the user consumed, by the online store or else the snapshot.

    Cost: O(N log S) for S consumed items.
    """
    return np.isin(candidates.ids, related_now(request, snapshot, CONSUMED))
